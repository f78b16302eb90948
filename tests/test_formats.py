"""The table of forms: what each loses is what `evaluate` says; what is timed is not tested."""

import json

import pytest

from experiments.formats import FORMS, compare_forms, table
from prune_heads.errors import OptionError
from prune_heads.evaluator import Evaluator
from prune_heads.options import Setup
from prune_heads.progress import Reporter

SETUP = Setup("mini", "mini-inference", max_examples=20, device="cpu")


@pytest.mark.parametrize("shares", [(), (0.3, 0.5), (0, 1.5), (0, float("nan"))])
def test_the_first_share_is_the_whole_model(shares):
    with pytest.raises(OptionError, match="--shares must be from 0 to 1, the first 0"):
        compare_forms(SETUP, Reporter(), shares=shares)


@pytest.mark.thorough
def test_each_form_is_measured_as_it_was_written():
    report, forms = compare_forms(SETUP, Reporter(), shares=(0, 0.5), runs=1), FORMS
    rows = report["rows"]
    assert [(row["n_pruned"], row["form"]) for row in rows] == [(n, form) for n in (0, 12) for form in forms]
    assert (rows[0]["difference"], rows[0]["low"], rows[0]["high"]) == (0, 0, 0)
    model = Evaluator("mini", "mini-inference", max_examples=20)
    of = {(row["n_pruned"], row["form"]): row for row in rows}
    base = model.evaluate().metrics["accuracy"]
    assert of[0, forms[0]]["value"] == base
    for row in rows:
        assert row["difference"] == pytest.approx(row["value"] - base)
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["milliseconds"].keys() == row["ceiling"].keys() == {"1", "16"}
        assert row["ceiling"]["1"] == 1 if row["n_pruned"] == 0 else row["ceiling"]["1"] > 1
    for n in (0, 12):
        exact, half, int8 = (of[n, form] for form in forms[:3])
        assert 0.2 * exact["n_bytes"] < int8["n_bytes"] < half["n_bytes"] < 0.6 * exact["n_bytes"]
        assert of[n, "onnxruntime float32"]["value"] == exact["value"]
        assert of[n, "onnxruntime int8"]["n_bytes"] < 0.5 * of[n, "onnxruntime float32"]["n_bytes"]
    assert json.loads(json.dumps(report))["rows"] == rows
    assert "| 50% | PyTorch int8 |" in table(report).to_markdown()
