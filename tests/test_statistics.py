"""Vectorised metric values against the official ones, and the interval of a paired difference."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_heads.statistics import METRIC_VALUES, paired_bootstrap
from prune_heads.tasks.metrics import compute_metrics
from prune_heads.tasks.spec import METRIC_NAMES, REGRESSION_METRICS

VALUES = [(metric, name) for metric, names in METRIC_NAMES.items() for name in names]


def draw(metric, rng, n, n_labels):
    if metric in REGRESSION_METRICS:
        return rng.normal(size=n).round(1), rng.normal(size=n).round(1)
    return rng.integers(0, n_labels, n), rng.integers(0, n_labels, n)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(VALUES), st.integers(2, 40), st.integers(1, 4), st.integers(0, 999))
def test_values_are_those_of_the_official_metrics(value, n, n_labels, seed):
    metric, name = value
    rng = np.random.default_rng(seed)
    predictions, references = draw(metric, rng, n, 2 if metric == "f1" else n_labels)
    official = compute_metrics(metric, predictions, references)[name]
    assert float(METRIC_VALUES[name](predictions, references)) == pytest.approx(official, abs=1e-9)


@pytest.mark.parametrize(("metric", "name"), VALUES)
def test_values_work_along_the_last_axis(metric, name):
    rng = np.random.default_rng(0)
    predictions, references = zip(*(draw(metric, rng, 30, 2) for _ in range(5)), strict=True)
    at_once = METRIC_VALUES[name](np.stack(predictions), np.stack(references))
    one_by_one = [float(METRIC_VALUES[name](p, r)) for p, r in zip(predictions, references, strict=True)]
    assert np.allclose(at_once, one_by_one)


def test_every_metric_has_its_vectorised_values():
    assert set(METRIC_VALUES) == {name for _, name in VALUES}


def test_the_interval_of_accuracy_is_that_of_a_paired_mean():
    """The bootstrap of a mean agrees with the normal interval for many examples."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    first = np.where(rng.random(2000) < 0.9, truth, 1 - truth)
    second = np.where(rng.random(2000) < 0.1, 1 - first, first)
    got = paired_bootstrap("accuracy", first, second, truth, seed=0, n_resamples=4000)
    paired = (second == truth).astype(float) - (first == truth)
    half = 1.96 * paired.std(ddof=1) / np.sqrt(2000)
    assert got.value == pytest.approx(paired.mean())
    assert got.low == pytest.approx(paired.mean() - half, abs=0.15 * half)
    assert got.high == pytest.approx(paired.mean() + half, abs=0.15 * half)


@pytest.mark.parametrize(("metric", "name"), VALUES)
def test_intervals_hold_the_truth_about_as_often_as_they_say(metric, name):
    """Coverage over 120 samples of 150 from a population of 20,000, for every metric."""
    rng = np.random.default_rng(1)
    if metric in REGRESSION_METRICS:
        truth = rng.normal(size=20_000)
        first, second = truth + rng.normal(size=20_000), truth + 1.5 * rng.normal(size=20_000)
    else:
        truth = rng.integers(0, 2, 20_000)
        first, second = (np.where(rng.random(20_000) < p, truth, 1 - truth) for p in (0.9, 0.8))
    value = METRIC_VALUES[name]
    true_difference = float(value(second, truth) - value(first, truth))
    held = 0
    for i in range(120):
        sample = rng.integers(0, 20_000, 150)
        got = paired_bootstrap(name, first[sample], second[sample], truth[sample], seed=i, n_resamples=300)
        held += got.low <= true_difference <= got.high
    low, high = scipy.stats.binom.interval(0.9999, 120, 0.94)
    assert low <= held <= high


def test_a_function_of_the_seed():
    rng = np.random.default_rng(0)
    truth, first, second = (rng.integers(0, 2, 50) for _ in range(3))
    a, b, c = (paired_bootstrap("accuracy", first, second, truth, seed=seed) for seed in (0, 0, 1))
    assert a == b
    assert (a.low, a.high) != (c.low, c.high)


def test_nothing_changed_and_one_example():
    same = paired_bootstrap("f1", np.array([1, 0, 1]), np.array([1, 0, 1]), np.array([1, 1, 1]), seed=0)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    one = paired_bootstrap("accuracy", np.array([1]), np.array([0]), np.array([1]), seed=0)
    assert (one.value, one.low, one.high) == (-1, -1, -1)
