"""Vectorised metric values against the official ones, and where a metric means nothing."""

import numpy as np
import pytest
from counts import drawn_counts
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_heads.statistics import METRIC_VALUES, why_undefined
from prune_heads.tasks.metrics import compute_metrics
from prune_heads.tasks.spec import METRIC_NAMES, REGRESSION_METRICS, TEXT_METRIC, TRANSLATION_METRIC

VALUES = [(metric, name) for metric, names in METRIC_NAMES.items() for name in names]


def draw(metric, rng, n, n_labels):
    if metric in REGRESSION_METRICS:
        return rng.normal(size=n).round(1), rng.normal(size=n).round(1)
    if metric == TEXT_METRIC:
        return rng.normal(-5, 2, size=n), rng.integers(1, 9, n)
    if metric == TRANSLATION_METRIC:
        return drawn_counts(rng, n), rng.integers(1, 9, n)
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


def test_the_likelihood_of_a_token_does_not_depend_on_how_texts_are_divided():
    """It is a ratio of sums: texts count by their tokens."""
    values, tokens = np.array([-6.0, -1.0, -5.0]), np.array([3, 1, 2])
    assert METRIC_VALUES["log_likelihood"](values, tokens) == -2.0
    assert METRIC_VALUES["log_likelihood"](np.array([-12.0]), np.array([6])) == -2.0
    assert float(METRIC_VALUES["perplexity"](values, tokens)) == pytest.approx(np.e**2)


def test_every_metric_has_its_vectorised_values():
    assert set(METRIC_VALUES) == {name for _, name in VALUES}


@pytest.mark.parametrize(
    ("name", "references", "why"),
    [
        ("accuracy", [1, 1, 1], None),
        ("f1", [1, 1, 1], None),
        ("f1", [0, 0, 2], "none of the 3"),
        ("matthews_correlation", [1, 1, 1], "labels that differ, and those of all 3"),
        ("matthews_correlation", [0, 1], None),
        ("pearson", [2.5, 2.5], "scores that differ"),
        ("spearmanr", [2.5, 2.5], "scores that differ"),
        ("spearmanr", [2.5, 2.6], None),
        ("accuracy", [], "there are none"),
        ("log_likelihood", [7, 7, 7], None),
        ("perplexity", [], "there are none"),
    ],
)
def test_where_a_metric_means_nothing(name, references, why):
    got = why_undefined(name, np.array(references))
    assert got is None if why is None else why in got


def test_an_unknown_metric_is_not_called_defined():
    with pytest.raises(ValueError, match="one of accuracy"):
        why_undefined("rouge", np.array([0, 1]))
