"""The estimators compared with each other and with the running sum, which is a defect and not one of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model, tiny_tokenizer, tokenize, write_sst2

from prune_heads.errors import DataError
from prune_heads.gating import gated
from prune_heads.heads import HeadMask
from prune_heads.importance import ESTIMATORS, GateGradients, gate_gradients, running_sum
from prune_heads.options import Scoring, Setup
from prune_heads.options.studies import Conditions
from prune_heads.progress import Reporter
from prune_heads.statistics import area_under_curve
from prune_heads.studies.curves import compare_estimators
from prune_heads.studies.scoring import Lab, score
from prune_heads.studies.setup import load_subject, predictions_of
from prune_heads.tasks.task import load_task

NAMES = [*ESTIMATORS, "running sum"]


def drawn(seed, n, n_heads=5):
    rng = np.random.default_rng(seed)
    signed = rng.normal(0.2, 1.0, size=(n, n_heads)).astype(np.float32)
    return GateGradients(signed, np.abs(signed), rng.integers(3, 30, n), (n_heads - 2, 2))


@pytest.fixture(scope="module")
def setup(checkpoint, sst2, tmp_path_factory):
    return Setup(str(checkpoint), "sst2", data_dir=sst2, store=tmp_path_factory.mktemp("lines") / "store")


@pytest.fixture(scope="module")
def record(setup):
    return compare_estimators(setup, Conditions(steps=4, score_examples=20), Reporter())


def test_the_running_sum_is_what_a_loop_adds_up_that_never_zeroes_its_gradient(tmp_path):
    model = tiny_model(n_labels=2)
    split = load_task("sst2", data_dir=write_sst2(tmp_path, n_train=9)).load("train")
    examples = tokenize(split, tiny_tokenizer(), model_index=(0, 1), batch_size=4)
    gates = [torch.ones(4, requires_grad=True) for _ in range(3)]
    total = torch.zeros(12)
    for i in range(9):
        batch = examples.batch(np.array([i]))
        with gated(model, gates):
            logits = model(**batch.inputs).logits
        torch.nn.functional.cross_entropy(logits, batch.targets).backward()
        total += torch.cat([gate.grad for gate in gates]).abs()
    gradients = gate_gradients(model, examples)
    assert np.allclose(running_sum(gradients).flat(), total / 9, rtol=1e-4, atol=1e-7)
    assert not np.allclose(ESTIMATORS["example"].score(gradients, 1).flat(), total / 9, rtol=0.05)


@given(st.integers(0, 9999))
def test_of_one_example_the_running_sum_is_right(seed):
    one = drawn(seed, 1)
    assert np.array_equal(running_sum(one).flat(), ESTIMATORS["example"].score(one, 1).flat())


@given(st.integers(0, 9999), st.integers(3, 30))
def test_the_order_of_the_examples_changes_the_running_sum_alone(seed, n):
    there = drawn(seed, n)
    order = np.roll(np.arange(n), 1)
    turned = GateGradients(there.signed[order], there.absolute[order], there.n_tokens[order], there.n_heads)
    for name in ("example", "token", "fisher", "signed"):
        scores = (ESTIMATORS[name].score(one, 8).flat() for one in (there, turned))
        assert np.allclose(*scores, rtol=1e-9, atol=1e-12)
    assert not np.allclose(running_sum(there).flat(), running_sum(turned).flat(), rtol=1e-6)


def test_gradients_of_one_sign_add_up_with_the_number_of_examples():
    signed = np.ones((10, 3), dtype=np.float32)
    gradients = GateGradients(signed, signed, np.ones(10, dtype=np.int64), (1, 2))
    assert running_sum(gradients).flat().tolist() == [5.5] * 3


def test_scores_are_those_of_the_estimators(setup, record):
    lab, scoring = Lab(setup, Reporter()), Scoring(score_examples=20)
    subject, examples = lab.subject, lab.examples(scoring)
    assert [line["estimator"] for line in record["lines"]] == NAMES
    for line in record["lines"][:-1]:
        wanted = score(subject, Scoring(estimator=line["estimator"], score_examples=20), examples).scores
        assert np.allclose(np.concatenate(line["scores"]), wanted.flat(), rtol=1e-4, atol=1e-8)
    gradients = score(subject, scoring, examples).gradients
    last = np.concatenate(record["lines"][-1]["scores"])
    assert np.allclose(last, running_sum(gradients).flat(), rtol=1e-4, atol=1e-8)


def test_curves_prune_the_lowest_scores_and_measure_each_mask(setup, record, tmp_path):
    fresh = replace(setup, store=tmp_path / "store")
    subject = load_subject(fresh, Reporter())
    predictions = predictions_of(fresh, subject, subject.task.load("validation"), Reporter())
    for line in record["lines"]:
        scores = np.concatenate(line["scores"])
        fractions = [point["percent"] / 100 for point in line["points"]]
        assert fractions == [0, 0.25, 0.5, 0.75, 1]
        for point in line["points"]:
            mask = HeadMask.parse(" ".join(point["heads_pruned"]), (4, 4, 4))
            pruned = ~np.concatenate(mask.keep())
            assert point["value"] == pytest.approx(predictions.metric_of(predictions.of(mask)))
            assert set(np.flatnonzero(pruned)) == set(np.argsort(scores, kind="stable")[: point["n_pruned"]])
        values = [point["value"] for point in line["points"]]
        assert line["area"] == pytest.approx(area_under_curve(fractions, values))  # 12 heads in 4 steps
        assert line["half"]["heads_pruned"] == line["points"][2]["heads_pruned"]
        assert line["half"]["value"] == values[2]


def test_differences_are_to_the_estimator_example(record):
    lines = {line["estimator"]: line for line in record["lines"]}
    assert lines["example"]["area_difference"] == {"value": 0, "low": 0, "high": 0}
    for line in lines.values():
        difference = line["area_difference"]
        assert difference["value"] == pytest.approx(line["area"] - lines["example"]["area"], abs=1e-12)
        assert difference["low"] <= difference["value"] <= difference["high"]


def test_overlaps_are_counted_among_the_heads_that_go_at_half(record):
    assert record["chance_overlap"] == 0.5
    half = {
        line["estimator"]: set(HeadMask.parse(" ".join(line["half"]["heads_pruned"]), (4, 4, 4)))
        for line in record["lines"]
    }
    assert len(record["pairs"]) == 15
    for pair in record["pairs"]:
        assert pair["overlap"] == len(half[pair["first"]] & half[pair["second"]]) / 6
        assert pair["n_heads"] == 12


def test_a_constant_metric_is_refused_before_anything_is_scored():
    setup = Setup("mini", "mini-acceptability", max_examples=1)
    with pytest.raises(DataError, match="must be defined on validation"):
        compare_estimators(setup, Conditions(), Reporter(lambda identity: pytest.fail("admitted")))
