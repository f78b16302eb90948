"""The benchmark compares two ways to the same scores; what it times is not tested."""

import re

import numpy as np
import pytest
import torch
import typer
from tiny import tiny_model, tiny_tokenizer, tokenize
from tiny_texts import save_language_model, tiny_language_model

from experiments.benchmark import scoring
from experiments.benchmark.__main__ import benchmark, scoring_ratio
from experiments.benchmark.scoring import benchmark_scoring, published_scores
from prune_heads.errors import PruneHeadsError, TaskError
from prune_heads.importance import ESTIMATORS, gate_gradients
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.tasks.task import load_task


@pytest.fixture
def gpt2_texts(tmp_path):
    (tmp_path / "a.txt").write_text("a cat sleeps\nthe dog was good\n")
    checkpoint = save_language_model(tmp_path / "gpt2", tiny_language_model("gpt2"))
    file = str(tmp_path / "a.txt")
    return ["--model", str(checkpoint), "--task", "lm", "--validation-file", file, "--train-file", file]


def test_the_published_protocol_gives_the_authors_scores(sst2, monkeypatch):
    monkeypatch.setattr(scoring, "_PUBLISHED_LENGTH", 64)  # as many positions as the tiny model has
    model = tiny_model(n_labels=2)
    batches = tokenize(load_task("sst2", data_dir=sst2).load("train"), tiny_tokenizer(), model_index=(0, 1))
    published = published_scores(model, batches, torch.device("cpu"))
    ours = ESTIMATORS["token"].score(gate_gradients(model, batches), 32).flat()
    assert np.allclose(published, ours, rtol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_ratio_comes_with_its_conditions(checkpoint, sst2, monkeypatch):
    monkeypatch.setattr(scoring, "_PUBLISHED_LENGTH", 64)
    setup = Setup(str(checkpoint), "sst2", data_dir=sst2, device="cpu")
    report = benchmark_scoring(setup, Reporter(), repeats=2)
    assert len(report["ratios"]) == 2
    assert report["ratio"] > 0
    assert report["tokens"]["published"] == 64 * 40 > report["tokens"]["gates"]
    assert report["relative_difference_of_scores"] < 1e-3


def test_no_ratio_without_the_same_scores(checkpoint, sst2, monkeypatch):
    monkeypatch.setattr(scoring, "published_scores", lambda model, batches, device: np.ones(12))
    with pytest.raises(PruneHeadsError, match="same scores before their times"):
        benchmark_scoring(Setup(str(checkpoint), "sst2", data_dir=sst2, device="cpu"), Reporter(), repeats=1)


def test_the_printed_ratio():
    report = {"ratio": 8.0, "ratios": [7.5, 8.0, 8.1], "relative_difference_of_scores": 3e-7}
    said = "ratio 8.0x (each repeat: 7.5, 8.0, 8.1); scores differ by 3e-07 at most"
    assert scoring_ratio(report) == said


def test_the_script_takes_the_options_of_the_commands(gpt2_texts, capsys):
    """The published protocol is that of classifiers; misuse is a usage error."""
    script = typer.Typer()
    script.command()(benchmark)
    for of in ("scoring", "ablation"):
        with pytest.raises(TaskError, match="the task must be one of labels"):
            script([*gpt2_texts, "--of", of], standalone_mode=False)
    with pytest.raises(typer.BadParameter, match="--compile is for --of ablation"):
        script(["--compile"], standalone_mode=False)
    script(["--max-examples", "32", "--repeats", "1", "--batch-size", "16"], standalone_mode=False)
    assert re.fullmatch(r"ratio [\d.]+x \(each repeat: [\d.]+\); scores .*\n", capsys.readouterr().out)
