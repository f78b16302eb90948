"""The main job on every task of GLUE, on the real files, with a tiny random model."""

import json

import pytest
from tiny import save_tiny_checkpoint

from prune_heads.objectives import METRIC_NAMES, TASKS

FOLDERS = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
}


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("task", FOLDERS)
def test_a_run_on_every_task(task, invoke, shared, tmp_path):
    spec = TASKS[task]
    checkpoint = save_tiny_checkpoint(tmp_path / "model", spec.labels or ("LABEL_0",))
    folder = shared / "glue" / FOLDERS[task]
    words = ("--model", checkpoint, "--task", task, "--data-dir", folder, "--max-examples", 40, "--curve", "--json")
    record = json.loads(invoke("run", *words).stdout)
    names = [(row["split"], row["metric"]) for row in record["rows"]]
    assert names == [(split, name) for split in spec.eval_splits for name in METRIC_NAMES[spec.metric]]
    assert all(data["n_examples"] == 40 < data["n_available"] for data in record["data"])
    assert record["scored_on"]["n_examples"] == 40
    for end in (point for point in record["curve"] if point["percent"] == 100):
        assert end["n_classes_predicted"] == 1 or spec.labels is None
    for row in record["rows"]:
        assert row["low"] <= row["difference"] <= row["high"]


@pytest.mark.slow
@pytest.mark.real
def test_a_fine_tuned_model_prunes_as_its_curve_says(invoke, shared):
    """SST-2 with a real model: the base is 780 of 872, and half the heads go for less than two points."""
    words = ("--model", shared / "models" / "minilm-sst2", "--task", "sst2", "--data-dir", shared / "glue" / "SST-2")
    record = json.loads(invoke("run", *words, "--score-examples", 200, "--json").stdout)
    (row,) = record["rows"]
    assert row["base"] == 780 / 872
    assert record["n_pruned"] == 36
    assert row["pruned"] > row["base"] - 0.02
    assert row["low"] < row["difference"] < row["high"]
