"""The commands on translations: the built-in one, and pairs of one's own."""

import csv
import json
from importlib import resources
from pathlib import Path

import pytest

from prune_heads.mini import read

CHECKPOINT = Path(str(resources.files("prune_heads.mini"))) / "checkpoints" / "mini-translation"
MINI = ("--model", "mini", "--task", "mini-translation")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The first pairs of two splits as files of one's own."""
    folder = tmp_path_factory.mktemp("pairs")
    for split in ("train", "validation", "test"):
        columns = read("mini-translation", split)
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = list(zip(columns["text"], columns["text_pair"], strict=True))[:20]
            csv.writer(file).writerows([("source", "target"), *rows])
    return folder


@pytest.mark.slow
def test_ablate(invoke, json_of, tmp_path):
    words = ("--blocks", "E:1", "--max-examples", "40", "--json", "--output", tmp_path / "out")
    report = json_of(invoke("ablate", *MINI, *words))
    assert (report["metric"], report["test"], report["n_examples"]) == ("bleu", "paired bootstrap", 40)
    assert 0.8 < report["base"] < 1
    measured = [row for row in report["delta"] if any(value is not None for value in row)]
    assert len(measured) == 1
    assert all(abs(value) < 0.2 for value in measured[0])
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert [table["split"] for table in record["tables"]] == ["validation", "mismatched"]
    assert "tok:13a|smooth:exp" in record["translation"]["signature"]
    assert record["translation"]["beams"] == 1
    assert "BLEU without one head" in (tmp_path / "out" / "table.md").read_text()


def test_run_scores_and_removes_and_the_checkpoint_writes_the_same(invoke, json_of, tmp_path):
    words = ("--max-examples", "20", "--score-examples", "30", "--n-heads", "6", "--split", "validation")
    done = invoke("run", *MINI, *words, "--mode", "remove", "--save-checkpoint", "--output", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    first = record["rows"][0]
    assert (first["split"], first["metric"]) == ("validation", "bleu")
    assert first["low"] <= first["difference"] <= first["high"]
    assert record["metric"] == "bleu"
    assert "signature" in record["translation"]
    evaluated = invoke(
        "evaluate", "--model", tmp_path / "run" / "checkpoint", *MINI[2:], "--max-examples", "20", "--json"
    )
    assert json_of(evaluated)["metrics"]["bleu"] == pytest.approx(first["pruned"], abs=1e-12)


@pytest.mark.slow
def test_pairs_of_ones_own_are_translated_alike(files, invoke, json_of):
    here = json_of(invoke("evaluate", *MINI, "--max-examples", "20", "--json"))
    own = ("--task", "translation", "--validation-file", files / "validation.csv")
    there = json_of(invoke("evaluate", "--model", CHECKPOINT, *own, "--json"))
    assert there["metrics"] == here["metrics"]
    assert there["n_examples"] == 20
    by_beams = json_of(invoke("evaluate", "--model", CHECKPOINT, *own, "--beams", "3", "--json"))
    assert 0.5 < by_beams["metrics"]["bleu"] < 1
    likely = ("--task", "seq2seq", "--validation-file", files / "validation.csv")
    assert "log_likelihood" in json_of(invoke("evaluate", "--model", CHECKPOINT, *likely, "--json"))["metrics"]


def test_a_toml_file_names_further_splits(files, invoke, json_of):
    lines = ['name = "mine"', 'task = "translation"', "[files]", 'validation = "validation.csv"', 'test = "test.csv"']
    (files / "mine.toml").write_text("\n".join(lines) + "\n")
    words = ("evaluate", "--model", CHECKPOINT, "--task", files / "mine.toml", "--split", "test", "--json")
    mine = json_of(invoke(*words))
    built_in = json_of(invoke("evaluate", *MINI, "--split", "test", "--max-examples", "20", "--json"))
    assert (mine["task"], mine["split"], mine["metrics"]) == ("mine", "test", built_in["metrics"])


@pytest.mark.slow
def test_score_curve_and_correlate(invoke, json_of, tmp_path):
    few = ("--max-examples", "8", "--max-length", "16", "--split", "validation")
    for name, *words in (
        ("score", "--max-examples", "40"),
        ("curve", *few, "--criterion", "gradient", "--criterion", "magnitude", "--steps", "2", "--score-examples", "8"),
        ("ablate", *few),
    ):
        done = invoke(name, *MINI, *words, "--output", tmp_path / name)
        assert done.exit_code == 0, done.stderr
    assert json.loads((tmp_path / "curve" / "record.json").read_text())["metric"] == "bleu"
    pairs = json_of(invoke("correlate", tmp_path / "ablate", tmp_path / "score", "--json"))["correlations"]
    assert len(pairs) == 3  # of the metric, the response and the scores
    assert all(-1 <= pair["pearson"]["value"] <= 1 for pair in pairs)


def test_misuse(files, refused, out):
    own = ("--validation-file", files / "validation.csv")
    said = refused("run", "--model", "x", "--task", "translation", *out, code=2)
    assert "--task translation needs texts of your own" in said
    said = refused("evaluate", "--model", "x", "--task", "translation", *own, "--metric", "f1", code=2)
    assert said.endswith("it has no classes, and its metric is bleu.")
    said = refused("evaluate", "--task", "mini-sentiment", "--beams", "2")
    assert "--beams must be given for translation only; got 2" in said
    (files / "bad.toml").write_text(
        'name = "bad"\nmetric = "bleu"\ntext_columns = ["a", "b"]\n[files]\ntest = "test.csv"\n'
    )
    said = refused("evaluate", "--model", "x", "--task", files / "bad.toml")
    assert "task = 'translation' must stand in place of the metric bleu" in said
