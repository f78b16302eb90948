"""`prune-heads bench`: what it prints and leaves in its folder, and what is refused; never speed."""

import json

import pytest

from prune_heads.reporting.terminal import bench_page
from prune_heads.studies import bench as module

QUICK = ("--batch-sizes", "1,4", "--length", "12")


@pytest.fixture(autouse=True)
def one_pass(monkeypatch):
    """A timing is one pass, however short."""
    monkeypatch.setattr(module, "_SHORTEST_SECONDS", 1e-9)


def test_json_and_the_folder(invoke, json_of, on_sst2, tmp_path):
    out = tmp_path / "out"
    record = json_of(invoke("bench", *on_sst2, *QUICK, "--heads", "1:2 2:1,2,3,4", "--output", out, "--json"))
    assert (record["command"], record["task"], record["mode"]) == ("bench", "sst2", "remove")
    assert (record["heads_pruned"], record["n_pruned"], record["n_heads"]) == (["1:2", "2:1,2,3,4"], 5, 12)
    assert record["configuration"].items() >= {"batch_sizes": [1, 4], "length": 12, "runs": 6}.items()
    assert [data["split"] for data in record["data"]] == ["validation"]
    assert {"libraries", "device", "threads", "commit"} <= record["provenance"].keys()
    assert [(row["lengths"], row["batch_size"]) for row in record["rows"]] == [
        ("fixed", 1),
        ("fixed", 4),
        ("real", 1),
        ("real", 4),
    ]
    for row in record["rows"]:
        assert set(row["examples_per_second"]) == {"original", "masked", "removed"}
        assert all(len(speed["each"]) == 6 for speed in row["examples_per_second"].values())
        assert all(len(ratio["each"]) == 6 for ratio in row["ratio"].values())
        assert row["ceiling"] > 1
        assert row["n_passes"] == 1
    assert {file.name for file in out.iterdir()} == {"record.json", "heads.json", "table.md"}
    assert json.loads((out / "record.json").read_text()) == record
    assert json.loads((out / "heads.json").read_text())["heads_pruned"] == ["1:2", "2:1,2,3,4"]
    assert (out / "table.md").read_text() == bench_page(record, whole=True).to_markdown()
    assert bench_page(record, whole=True).to_markdown().count("| fixed 12 | 4 |") == 3


def test_the_default_batches_are_those_that_there_are_examples_for(invoke, json_of, on_sst2, refused):
    words = ("bench", *on_sst2, "--max-examples", "5", "--length", "12", "--heads", "1:2")
    record = json_of(invoke(*words, "--json"))
    assert record["configuration"]["batch_sizes"] == [1, 4]
    assert "at most the number of examples, 5 of validation; got 16" in refused(*words, "--batch-sizes", "16")


def test_the_terminal_fits_into_80_columns(invoke, on_sst2):
    done = invoke("bench", *on_sst2, *QUICK, "--fraction", "0.25", COLUMNS="80")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.stdout
    assert lines[0].startswith("tiny on sst2: 3 of 12 heads removed; float32, ")
    assert sum(line.startswith("fixed 12") for line in lines) == 4
    assert "bench: " in done.stderr


def test_random_heads_are_a_function_of_the_seed(invoke, json_of, on_sst2):
    words = ("bench", *on_sst2, "--batch-sizes", "1", "--json", "--seed")
    chosen = [json_of(invoke(*words, seed))["heads_pruned"] for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert sum(descriptor.count(",") + 1 for descriptor in chosen[0]) == 6


def test_heads_by_their_scores_and_those_that_are_gone(invoke, json_of, on_sst2, tmp_path):
    scores = [[5, 5, 5, 0], [5, 5, 1, 5], [5, 5, 5, 5]]
    (tmp_path / "scores.json").write_text(json.dumps({"scores": scores}))
    words = ("--batch-sizes", "1", "--json", "--scores", tmp_path / "scores.json", "--n-heads")
    assert json_of(invoke("bench", *on_sst2, *words, 2))["heads_pruned"] == ["1:4", "2:3"]
    removed = ("--heads", "3:1", "--mode", "remove", "--output", tmp_path / "pruned")
    assert invoke("prune", *on_sst2[:2], *removed).exit_code == 0
    narrow = ("--model", tmp_path / "pruned" / "checkpoint", *on_sst2[2:])
    assert json_of(invoke("bench", *narrow, *words, 2))["heads_pruned"] == ["1:4", "3:1"]


def test_a_different_run_is_not_replaced(invoke, refused, on_sst2, tmp_path):
    words = ("bench", *on_sst2, "--heads", "1:1", "--batch-sizes", "1", "--output", tmp_path / "out")
    assert invoke(*words).exit_code == 0
    assert "holds a different run" in refused(*words, "--runs", 7)
    assert invoke(*words, "--runs", 7, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--heads", "9:1"), "layer 9 must be between 1 and 3"),
        (("--heads", ""), "some heads must go, or there is nothing to compare"),
        (("--fraction", "0"), "some heads must go"),
        (("--batch-sizes", "1,500"), "at most the number of examples, 30 of validation; got 500"),
        (("--length", "100"), "--length must be at most what the model takes, 64 tokens; got 100"),
        (("--scores", "none.json"), "a file of scores must be a readable file"),
    ],
)
def test_what_cannot_be_timed(words, said, refused, on_sst2, out):
    assert said in refused("bench", *on_sst2, *words, *out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--runs", "5"), "'--runs'"),
        (("--batch-sizes", "1,x"), "'--batch-sizes' must be numbers from 1"),
        (("--batch-sizes", "0"), "'--batch-sizes' must be numbers from 1"),
        (("--batch-sizes", ""), "'--batch-sizes' must be numbers from 1"),
        (("--length", "0"), "'--length'"),
        (("--heads", "1:1", "--scores", "s.json"), "--scores and --heads exclude each other"),
        (("--heads", "1:1", "--fraction", "0.5"), "exclude each other"),
    ],
)
def test_misuse(words, said, refused, on_sst2):
    assert said in refused("bench", *on_sst2, *words, code=2)
