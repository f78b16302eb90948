"""`prune-heads ablate`: its contract, its folder, and its options."""

import csv
import json
import shutil

import numpy as np
import pytest
from tiny import write_sst2

from prune_heads.ablation import engine

TABLE = (
    *(
        "split",
        "kind",
        "metric",
        "base",
        "base_interval",
        "n_examples",
        "numbering",
        "blocks",
        "value",
        "changed",
        "equivalence",
        "delta",
        "low",
        "high",
    ),
    *("p_value", "p_adjusted", "test", "together", "alpha", "best", "likelihood"),
)
BESIDE = ("task", "model", "tables", "correlations", "flips")
FILES = {"record.json", "table.md", "table.tex", "ablations.csv"}
MAPS = {"differences.png", "differences.svg", "histogram.png", "histogram.svg"}


@pytest.fixture
def words(on_sst2):
    return ("ablate", *on_sst2)


def flat(rows):
    return [cell for row in rows for cell in row]


def test_json_is_its_contract(words, invoke, json_of):
    report = json_of(invoke(*words, "--json"))
    assert tuple(report) == (*TABLE, *BESIDE)
    assert (report["kind"], report["metric"], report["n_examples"]) == ("without-one", "accuracy", 30)
    assert [block["layer"] for block in report["blocks"]] == [1, 2, 3]
    assert list(report["p_adjusted"]) == ["holm", "bh"]
    for rows in (report["value"], report["delta"], report["p_value"], *report["p_adjusted"].values()):
        assert [len(row) for row in rows] == [4, 4, 4]
    np.testing.assert_allclose(report["delta"], np.subtract(report["value"], report["base"]), rtol=0, atol=1e-15)
    for p, holm, bh in zip(*map(flat, (report["p_value"], *report["p_adjusted"].values())), strict=True):
        assert 0 < p <= bh <= holm <= 1
    assert {name: report["tables"][0][name] for name in TABLE} == {name: report[name] for name in TABLE}
    assert (report["task"], report["best"], report["correlations"], report["flips"]) == ("sst2", None, [], None)


@pytest.mark.parametrize(
    ("kind", "cell", "heads"),
    [("without-one", (0, 0), "1:1"), ("without-one", (2, 3), "3:4"), ("only-one", (1, 2), "2:1,2,4")],
)
def test_a_cell_is_what_evaluate_gives_with_its_mask(kind, cell, heads, words, invoke, json_of, tmp_path):
    layer, head = cell
    table = json_of(invoke(*words, "--kind", kind, "--json"))
    apart = ("--store", tmp_path / "another store")
    alone = json_of(invoke("evaluate", *words[1:], "--heads", heads, *apart, "--json"))
    assert table["value"][layer][head] == alone["metrics"]["accuracy"]
    assert len(set(flat(table["value"]))) > 1
    assert "evaluating" in invoke("evaluate", *words[1:], "--heads", "1:2,3", *apart).stderr
    assert table["base"] == json_of(invoke("evaluate", *words[1:], "--json"))["metrics"]["accuracy"]


@pytest.mark.slow
def test_without_options_the_built_in_model_is_ablated_on_both_its_splits(invoke, json_of, out, snapshot):
    report = json_of(invoke("ablate", "--max-examples", 300, *out, "--json"))
    assert [(table["split"], table["n_examples"]) for table in report["tables"]] == [
        ("validation_matched", 300),
        ("validation_mismatched", 300),
    ]
    assert (report["task"], report["model"]["name"], report["base"] > 0.8) == ("mini-inference", "mini", True)
    assert [len(row) for row in report["delta"]] == [4] * 6
    assert min(flat(report["p_adjusted"]["holm"])) < 0.01
    (pair,) = report["correlations"]
    assert 0.5 < pair["pearson"]["value"] <= 1
    assert set(snapshot(out[1])) == FILES | MAPS | {"examples.json", "scatter.png", "scatter.svg"}


@pytest.mark.slow
@pytest.mark.drawn
@pytest.mark.parametrize("kind", ["without-one", "only-one"])
def test_the_folder_is_complete_and_the_same_again(kind, words, invoke, json_of, out, snapshot, on_sst2, tmp_path):
    report = json_of(invoke(*words, "--kind", kind, *out, "--json"))
    files = snapshot(out[1])
    assert set(files) == FILES | MAPS | {"best.csv" if kind == "only-one" else "examples.json"}
    record = json.loads(files["record.json"])
    assert {name: record[name] for name in BESIDE} == {name: report[name] for name in BESIDE}
    assert (record["command"], record["configuration"]["kind"]) == ("ablate", kind)
    rows = list(csv.DictReader(files["ablations.csv"].decode().splitlines()))
    assert [float(row["delta"]) for row in rows] == flat(report["delta"])
    assert [(row["layer"], row["head"]) for row in rows[:5]] == [*(("1", h) for h in "1234"), ("2", "1")]
    if kind == "only-one":
        best = list(csv.DictReader(files["best.csv"].decode().splitlines()))
        assert [int(row["head"]) for row in best] == [row["head"] for row in report["best"]]
    assert b"\\begin{tabular}" in files["table.tex"]
    assert not [name for name, content in files.items() if b"NaN" in content]
    places = [str(path).encode() for path in (tmp_path, on_sst2[1].parent, on_sst2[5].parent)]
    assert not [name for name, content in files.items() for place in places if place in content]

    again = invoke(*words, "--kind", kind, *out, "--json")
    assert json_of(again) == report
    assert "masks" not in again.stderr  # nothing was computed
    later = snapshot(out[1])
    anew = json.loads(later.pop("record.json"))
    assert later == {name: content for name, content in files.items() if name != "record.json"}
    for each in (record, anew):
        each["seconds"], each["provenance"]["date"] = 0, 0
    assert anew == record


@pytest.mark.slow
def test_another_run_in_the_folder_is_replaced_only_when_asked(words, invoke, refused, tmp_path):
    folder = ("--output", tmp_path / "out")
    assert invoke(*words, *folder).exit_code == 0
    for options in (("--kind", "only-one"), ("--blocks", "1"), ("--seed", 1), ("--split", "train")):
        assert "holds a different run" in refused(*words, *folder, *options)
    assert invoke(*words, *folder, "--blocks", "1", "--overwrite").exit_code == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["configuration"]["blocks"] == ["1"]


def test_only_the_layers_asked_for(words, invoke, json_of, own_store):
    report = json_of(invoke(*words, "--blocks", "3, 1", "--json"))
    for name in ("value", "delta", "p_value"):
        assert [row == [None] * 4 for row in report[name]] == [False, True, False]
    assert len(list(own_store.rglob("*.safetensors"))) == 1 + 8
    done = invoke(*words, "--blocks", "1,3")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows if len(row) == 5 and row[0].isdigit()] == ["1", "3"]


def test_memory_changes_the_passes_and_nothing_else(words, invoke, json_of, tmp_path):
    reports = [
        json_of(invoke(*words, "--memory", memory, "--store", tmp_path / str(memory), "--json")) for memory in (1, 500)
    ]
    assert reports[0] == reports[1]


def test_layers_are_compiled_when_asked(words, invoke, json_of, monkeypatch, tmp_path):
    """What compiled layers compute is tested apart."""
    asked = []
    monkeypatch.setattr(engine, "with_compiled_layers", lambda forward: asked.append(forward) or forward)
    plain = json_of(invoke(*words, "--store", tmp_path / "plain", "--json"))
    assert asked == []
    assert json_of(invoke(*words, "--compile", "--store", tmp_path / "compiled", "--json")) == plain
    assert len(asked) == 1


def test_choosing_has_its_options(words, invoke, json_of):
    options = ("--choose-split", "validation", "--choose-examples", 11, "--seed", 4)
    report = json_of(invoke(*words, "--kind", "only-one", *options, "--json"))
    assert [(row["chosen_on"], row["chosen_examples"]) for row in report["best"]] == [("validation", 11)] * 3
    done = invoke(*words, "--kind", "only-one", *options)
    assert "chosen on 11 examples of validation, tested on validation" in done.stdout


def test_options_come_from_a_file_and_its_store_lies_beside_it(words, invoke, json_of, tmp_path, own_store):
    shutil.copytree(words[6], tmp_path / "data")
    (tmp_path / "ablate.toml").write_text(
        'task = "sst2"\ndata_dir = "data"\nkind = "only-one"\nblocks = "2"\nchoose_examples = 9\nstore = "kept"\n'
    )
    done = invoke("ablate", *words[1:3], "--config", tmp_path / "ablate.toml", "--blocks", "3", "--json")
    report = json_of(done)
    assert report["kind"] == "only-one"
    assert [(row["layer"], row["chosen_examples"]) for row in report["best"]] == [(3, 9)]
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 2 * 5
    assert not own_store.exists()


@pytest.mark.slow
def test_a_damaged_entry_is_noted_and_computed_again(words, invoke, json_of, own_store):
    before = json_of(invoke(*words, "--json"))
    for number, spoil in enumerate((lambda c: c[:-1], lambda c: c[:-1] + bytes([c[-1] ^ 1]), lambda c: b"")):
        entry = sorted(own_store.rglob("*.safetensors"))[number]
        entry.write_bytes(spoil(entry.read_bytes()))
        done = invoke(*words, "--json", FORCE_COLOR="1", NO_COLOR="", TERM="xterm")
        assert json_of(done) == before
        assert f"\x1b[33mnote: the stored predictions {entry.stem[:12]} are damaged (" in done.stderr
        assert done.stderr.count("damaged") == 1
        assert invoke("store", "verify").exit_code == 0
    assert "damaged" not in invoke(*words).stderr


def test_what_is_known_is_read_wherever_it_was_computed(words, invoke, json_of, tmp_path):
    """`evaluate` first: its mask is not computed again; another text is another key."""
    json_of(invoke("evaluate", *words[1:], "--heads", "2:3", "--json"))
    assert "masks: 360 examples done" in invoke(*words).stderr  # 12 of 13 masks on 30 examples
    data = write_sst2(tmp_path / "SST-2")
    (data / "dev.tsv").write_text((data / "dev.tsv").read_text().replace("cat", "dog", 1))
    assert "masks: 390 examples done" in invoke(*words[:5], "--data-dir", data).stderr


@pytest.mark.parametrize("cap", ["--max-examples", "--sample"])
def test_the_cap_of_all_splits_binds_what_heads_are_chosen_on(cap, invoke, json_of, on_sst2):
    words = ("ablate", *on_sst2, "--kind", "only-one", "--blocks", "1", cap, "12", "--json")
    (best, *_) = json_of(invoke(*words))["best"]
    assert best["chosen_examples"] == 12
    (best, *_) = json_of(invoke(*words, "--choose-examples", "14"))["best"]
    assert best["chosen_examples"] == 14
