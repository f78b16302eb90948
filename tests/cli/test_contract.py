"""What each command prints and leaves in its folder."""

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file
from tiny import save_tiny_checkpoint

from prune_heads.ablation import KINDS
from prune_heads.cli.output import TerminalReporter
from prune_heads.importance import CRITERIA, ESTIMATORS, NORMALIZERS
from prune_heads.objectives import TASKS
from prune_heads.options import scoring, studies
from prune_heads.studies.exporting import TARGETS
from prune_heads.studies.pruning import SURGERY


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_choices_are_the_keys_of_their_tables():
    tables = {
        scoring.CRITERIA: CRITERIA,
        scoring.ESTIMATORS: ESTIMATORS,
        scoring.NORMALIZERS: NORMALIZERS,
        get_args(studies.Mode): SURGERY,
        get_args(studies.Kind): (*KINDS, "pairs", "random"),
        get_args(studies.Target): dict.fromkeys(target.split()[0] for target in TARGETS),
    }
    for names, table in tables.items():
        assert list(names) == list(table)


def test_listings_as_json(invoke, json_of):
    tasks = json_of(invoke("tasks", "--json"))["tasks"]
    assert [task["name"] for task in tasks] == list(TASKS)
    assert tasks[1]["labels"] == ["negative", "positive"]
    criteria = json_of(invoke("criteria", "--json"))
    assert {key: [row["name"] for row in rows] for key, rows in criteria.items()} == {
        "criteria": list(CRITERIA),
        "estimators": list(ESTIMATORS),
        "normalizations": list(NORMALIZERS),
    }
    models = {row["type"]: row for row in json_of(invoke("models", "--json"))["models"]}
    assert {"gate": True, "zero": True, "remove": True, "classifier": True, "reason": ""}.items() <= models[
        "bert"
    ].items()
    assert models["stablelm"]["refused"].keys() == {"qk_layernorm=True"}
    assert "CanineEncoder" in models["canine"]["mixers"][0]
    shown = invoke("models").output
    assert "qk_layernorm=True" in shown
    assert "canine.initial_char_encoder" in shown


def test_evaluate_gives_its_contract(invoke, on_sst2, tmp_path, json_of):
    words = ("evaluate", *on_sst2, "--heads", "3:1,4 1:2", "--max-examples", "10", "--output", tmp_path / "out")
    report = json_of(invoke(*words, "--json"))
    assert list(report) == [
        *("task", "split", "n_examples", "metrics", "intervals", "likelihood", "heads_pruned", "n_heads")
    ]
    assert (report["task"], report["split"], report["n_examples"]) == ("sst2", "validation", 10)
    assert list(report["metrics"]) == ["accuracy"]
    assert (report["heads_pruned"], report["n_heads"]) == (["1:2", "3:1,4"], 12)
    record = read(tmp_path / "out" / "record.json")
    assert report.items() <= record.items()
    assert read(tmp_path / "out" / "heads.json") == {
        "numbering": "layers and heads from 1",
        "n_heads": [4, 4, 4],
        "heads_pruned": ["1:2", "3:1,4"],
    }
    assert json_of(invoke("evaluate", *on_sst2, "--split", "train", "--json"))["n_examples"] == 40


@pytest.mark.parametrize(
    ("options", "made", "has_error"),
    [
        ((), ("gradient", "example", "none", 40), True),
        (("--estimator", "token", "--normalize", "l2"), ("gradient", "token", "l2", 40), True),
        (("--estimator", "signed", "--score-examples", "7"), ("gradient", "signed", "none", 7), True),
        (("--estimator", "batch", "--batch-size", "8"), ("gradient", "batch", "none", 40), True),
        (("--estimator", "batch", "--score-split", "validation"), ("gradient", "batch", "none", 30), False),
        (("--criterion", "magnitude", "--normalize", "min-max"), ("magnitude", None, "min-max", 0), False),
        (("--criterion", "random", "--seed", "3"), ("random", None, "none", 0), False),
    ],
)
def test_score_gives_its_contract(options, made, has_error, invoke, on_sst2, tmp_path, json_of):
    done = invoke("score", *on_sst2, *options, "--output", tmp_path / "out", "--json")
    report = json_of(done)
    assert tuple(report[key] for key in ("criterion", "estimator", "normalize", "n_examples")) == made
    assert [len(row) for row in report["scores"]] == [4, 4, 4]
    assert (
        ([len(row) for row in report["standard_error"]] == [4, 4, 4]) if has_error else report["standard_error"] is None
    )
    assert [block["layer"] for block in report["blocks"]] == [1, 2, 3]
    assert report["blocks"][0] == {
        "name": "bert.encoder.layer.0.attention",
        "kind": "self",
        "stack": "encoder",
        "layer": 1,
        "n_heads": 4,
    }
    expected = {"record.json", "scores.json", "scores.png", "scores.svg"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected | (
        {"gradients.safetensors"} if report["estimator"] else set()
    )
    assert read(tmp_path / "out" / "scores.json") == report


def test_gradients_are_a_row_an_example_and_a_column_a_head(invoke, on_sst2, tmp_path, json_of):
    report = json_of(invoke("score", *on_sst2, "--output", tmp_path / "out", "--json"))
    matrix = load_file(tmp_path / "out" / "gradients.safetensors")
    assert matrix["signed"].shape == matrix["absolute"].shape == (40, 12)
    scores = torch.tensor(report["scores"]).flatten()
    assert torch.allclose(matrix["signed"].abs().mean(dim=0), scores)


@pytest.mark.drawn
def test_a_run_folder_is_complete_and_knows_no_path(invoke, on_sst2, tmp_path, json_of, snapshot):
    out = tmp_path / "out"
    record = json_of(invoke("run", *on_sst2, "--curve", "--save-checkpoint", "--output", out, "--json"))
    figures = {f"{stem}.{kind}" for stem in ("scores", "curve") for kind in ("png", "svg")}
    files = {
        "record.json",
        "table.md",
        "examples.json",
        "scores.json",
        "heads.json",
        "gradients.safetensors",
        "checkpoint",
    } | figures
    assert {path.name for path in out.iterdir()} == files
    assert {"configuration", "provenance", "rows", "curve", "seconds", "notes"} <= record.keys()
    assert record["configuration"].items() >= {"model": "tiny", "task": "sst2", "data_dir": "SST-2"}.items()
    assert (record["n_pruned"], len(record["curve"])) == (6, 11)
    (row,) = record["rows"]
    assert (row["split"], row["metric"], row["n_examples"]) == ("validation", "accuracy", 30)
    assert row["low"] <= row["difference"] <= row["high"]
    folders = {str(folder).encode() for path in (tmp_path, on_sst2[1], on_sst2[5]) for folder in (path, path.parent)}
    folders.add(str(Path.home()).encode() + b"/")
    for name, content in snapshot(out).items():
        assert not [folder for folder in folders if content and folder in content], name


def test_without_json_there_are_tables_on_stdout_and_progress_on_stderr(invoke, on_sst2, tmp_path):
    done = invoke("run", *on_sst2, "--curve")
    assert done.exit_code == 0
    assert "6 of 12 heads" in done.stdout
    assert "100%" in done.stdout
    assert "scoring: 40 examples done" in done.stderr
    assert "error" not in done.stderr
    for words in (
        ("score", *on_sst2),
        ("evaluate", *on_sst2, "--heads", "1:1"),
        ("prune", "--model", on_sst2[1], "--heads", "1:1", "--output", tmp_path / "out"),
    ):
        done = invoke(*words)
        assert done.exit_code == 0
        assert len(done.stdout.splitlines()) > 1


def test_json_is_ascii_for_pipes_that_know_nothing_else(invoke, tmp_path, json_of):
    copy = save_tiny_checkpoint(tmp_path / "modèle-naïf")
    done = invoke("prune", "--model", copy, "--heads", "1:1", "--output", tmp_path / "out", "--json")
    assert done.stdout.isascii()
    assert json_of(done)["model"]["name"] == "modèle-naïf"


def test_without_a_terminal_a_stage_tells_what_was_done_not_the_most_there_could_be(capsys):
    with TerminalReporter().stage("masks", 100) as progress:
        progress(30)
        progress(12)
    assert capsys.readouterr().err == "masks: 42 examples done\n"
