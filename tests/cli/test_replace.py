"""`--replace` from command to command: the same numbers wherever means are, files that hold them, what is refused."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from prune_heads import load_pruned

FEW = ("--max-examples", "20")


def made(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_means_go_from_scores_into_biases(invoke, on_sst2, tmp_path):
    how, heads = (*on_sst2, *FEW), ("--heads", "1:1,2,3,4 3:2")
    scored = made(invoke("score", *how, "--replace", "mean", "-o", tmp_path / "scored", "--json"))
    assert [len(row) for row in scored["means"]["of"]] == [32, 32, 32]
    assert "means" not in made(invoke("score", *how, "--json"))
    scores = ("--scores", tmp_path / "scored" / "scores.json")
    wanted = made(invoke("evaluate", *how, "--replace", "mean", *heads, "--json"))
    for mode, load in (("zero", AutoModelForSequenceClassification.from_pretrained), ("remove", load_pruned)):
        pruned = tmp_path / mode
        prune = ("prune", on_sst2[0], on_sst2[1], *scores, "--replace", "mean", *heads, "--mode", mode)
        assert made(invoke(*prune, "-o", pruned, "--json"))["heads_pruned"] == ["1:1,2,3,4", "3:2"]
        assert torch.isfinite(load(pruned / "checkpoint").classifier.weight).all()
        on_pruned = ("--model", pruned / "checkpoint", *on_sst2[2:], *FEW)
        got = made(invoke("evaluate", *on_pruned, "--json"))["likelihood"]["value"]
        assert got == pytest.approx(wanted["likelihood"]["value"], abs=1e-6)
    other = ("prune", "--model", tmp_path / "zero" / "checkpoint", *scores, "--replace", "mean", "-o", tmp_path / "x")
    assert "is of other weights" in invoke(*other).output
    assert not (tmp_path / "x").exists()
    spoiled = json.loads((tmp_path / "scored" / "scores.json").read_text())
    for rows in ([[0.0] * 31] * 3, [[float("nan")] * 32] * 3, [[0.0] * 32] * 2, "x", [["a"] * 32] * 3):
        spoiled["means"]["of"] = rows
        (tmp_path / "spoiled.json").write_text(json.dumps(spoiled))
        result = invoke(
            "prune", *on_sst2[:2], "--scores", tmp_path / "spoiled.json", "--replace", "mean", "-o", tmp_path / "x"
        )
        assert result.exit_code == 1
        assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["mean", "position-mean", "resample"])
def test_a_run_measures_what_masks_say(invoke, on_sst2, tmp_path, kind):
    how, heads = (*on_sst2, *FEW, "--replace", kind), ("--heads", "1:1 2:3 3:1")
    record = made(invoke("run", *how, *heads, "-o", tmp_path / "run", "--json"))
    masked = made(invoke("evaluate", *how, *heads, "--json"))
    (row,) = (each for each in record["rows"] if "likelihood" in each)
    assert row["likelihood"]["pruned"] == pytest.approx(masked["likelihood"]["value"], abs=1e-6)
    base = made(invoke("evaluate", *on_sst2, *FEW, "--json"))["likelihood"]["value"]
    assert row["likelihood"]["base"] == pytest.approx(base, abs=1e-6)
    assert (record["parameters"]["pruned"] == 0) == (kind != "mean")
    assert record["configuration"]["replace"] == kind
    assert record["replaced_by"]["split"] == "train"
    kept = invoke("run", *how, *heads, "-o", tmp_path / "kept", "--save-checkpoint")
    assert kept.exit_code == (0 if kind == "mean" else 2), kept.output


@pytest.mark.slow
def test_orders_are_by_what_stands_in(invoke, on_sst2, tmp_path):
    how = (*on_sst2, *FEW)
    values, names = [], []
    for kind in ("zero", "mean"):
        folder = tmp_path / kind
        (table,) = made(invoke("ablate", *how, "--replace", kind, "-o", folder, "--json"))["tables"]
        values.append(table["likelihood"]["delta"])
        names.append(folder)
        title = (folder / "table.md").read_text().splitlines()[0]
        assert ("--replace mean" in title) == (kind == "mean")
    assert values[0] != values[1]
    assert "pruned: 1:1 (--replace mean)" in invoke("evaluate", *how, "--heads", "1:1", "--replace", "mean").stdout
    found = made(invoke("correlate", *names, "--json"))
    first, second = "tiny validation without-one", "tiny validation without-one (mean)"
    assert [each["name"] for each in found["series"]] == [
        first,
        f"{first}, log-likelihood",
        second,
        f"{second}, log-likelihood",
    ]
    curve = ("curve", *how, "--criterion", "ablation", "--steps", "2", "--replace", "resample", "--rescore")
    assert made(invoke(*curve, "--json"))["lines"][0]["rescored"]
    refused = invoke("curve", *how, "--criterion", "gradient", "--steps", "2", "--replace", "mean", "--rescore")
    assert refused.exit_code == 2
    assert "must be by the criterion ablation" in refused.output


def test_misuse_is_one_line(invoke, on_sst2, tmp_path):
    for words, said in [
        (("prune", *on_sst2[:2], "--heads", "1:1", "--replace", "mean", "-o", tmp_path / "x"), "needs --scores"),
        (("prune", *on_sst2[:2], "--heads", "1:1", "--replace", "resample", "-o", tmp_path / "x"), "resample"),
        (("evaluate", *on_sst2, "--replace", "median"), "median"),
        (("bench", *on_sst2, "--replace", "mean"), "No such option"),
    ]:
        result = invoke(*words)
        assert result.exit_code == 2
        assert said in result.output
