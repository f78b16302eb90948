"""The benchmark compares two ways to the same scores; what it times is not tested."""

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_tokenizer, tokenize

from prune_heads.errors import PruneHeadsError
from prune_heads.importance import ESTIMATORS, gate_gradients
from prune_heads.progress import Silent
from prune_heads.studies import benchmark
from prune_heads.studies.benchmark import benchmark_scoring, published_scores
from prune_heads.studies.setup import Setup
from prune_heads.tasks.task import load_task


def test_the_published_protocol_gives_the_authors_scores(sst2, monkeypatch):
    monkeypatch.setattr(benchmark, "_PUBLISHED_LENGTH", 64)  # as many positions as the tiny model has
    model = tiny_model(n_labels=2)
    batches = tokenize(load_task("sst2", data_dir=sst2).load("train"), tiny_tokenizer(), model_index=(0, 1))
    published = published_scores(model, batches, torch.device("cpu"))
    ours = ESTIMATORS["token"].score(gate_gradients(model, batches), 32).flat()
    assert np.allclose(published, ours, rtol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_ratio_comes_with_its_conditions(checkpoint, sst2, monkeypatch):
    monkeypatch.setattr(benchmark, "_PUBLISHED_LENGTH", 64)
    setup = Setup(str(checkpoint), "sst2", data_dir=sst2, device="cpu")
    report = benchmark_scoring(setup, Silent(), repeats=2)
    assert len(report["ratios"]) == 2
    assert report["ratio"] > 0
    assert report["tokens"]["published"] == 64 * 40 > report["tokens"]["gates"]
    assert report["relative_difference_of_scores"] < 1e-3


def test_no_ratio_without_the_same_scores(checkpoint, sst2, monkeypatch):
    monkeypatch.setattr(benchmark, "published_scores", lambda model, batches, device: np.ones(12))
    with pytest.raises(PruneHeadsError, match="same scores before their times"):
        benchmark_scoring(Setup(str(checkpoint), "sst2", data_dir=sst2, device="cpu"), Silent(), repeats=1)
