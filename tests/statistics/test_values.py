"""Metrics against those of scikit-learn, SciPy and sacrebleu, and where a metric means nothing."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from counts import drawn_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from prune_heads.objectives import METRIC_NAMES
from prune_heads.statistics import METRICS, metric_named

VALUES = [(metric, name) for metric, names in METRIC_NAMES.items() for name in names if set(names) <= set(METRICS)]
"""Those that objectives share; the tests of the others are with their objectives."""


def bleu(counts, references):
    total = counts.sum(axis=0).astype(int).tolist()
    return BLEU.compute_bleu(total[:4], total[4:8], *total[8:], smooth_method="exp").score / 100


OFFICIAL = {
    "accuracy": lambda made, true: sklearn.metrics.accuracy_score(true, made),
    "f1": lambda made, true: sklearn.metrics.f1_score(true, made, zero_division=0.0),
    "matthews_correlation": lambda made, true: sklearn.metrics.matthews_corrcoef(true, made),
    "pearson": lambda made, true: scipy.stats.pearsonr(made, true).statistic,
    "spearmanr": lambda made, true: scipy.stats.spearmanr(made, true).statistic,
    "log_likelihood": lambda made, true: made.sum() / true.sum(),
    "perplexity": lambda made, true: np.exp(-made.sum() / true.sum()),
    "bleu": bleu,
}


def draw(metric, rng, n, n_labels):
    if metric == "pearson":
        return rng.normal(size=n).round(1), rng.normal(size=n).round(1)
    if metric == "log_likelihood":
        return rng.normal(-5, 2, size=n), rng.integers(1, 9, n)
    if metric == "bleu":
        return drawn_counts(rng, n), rng.integers(1, 9, n)
    return rng.integers(0, n_labels, n), rng.integers(0, n_labels, n)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(VALUES), st.integers(2, 40), st.integers(1, 4), st.integers(0, 999))
def test_values_are_those_of_the_official_metrics(value, n, n_labels, seed):
    metric, name = value
    rng = np.random.default_rng(seed)
    predictions, references = draw(metric, rng, n, 2 if metric == "f1" else n_labels)
    constant = metric != "bleu" and 0 in (np.ptp(predictions), np.ptp(references))
    official = 0.0
    if not (constant and name in ("matthews_correlation", "pearson", "spearmanr")):
        official = OFFICIAL[name](predictions, references)
    assert METRICS[name](predictions, references) == pytest.approx(official, abs=1e-9)


def test_the_likelihood_of_a_token_does_not_depend_on_how_texts_are_divided():
    """It is a ratio of sums: texts count by their tokens."""
    values, tokens = np.array([-6.0, -1.0, -5.0]), np.array([3, 1, 2])
    assert METRICS["log_likelihood"](values, tokens) == -2.0
    assert METRICS["log_likelihood"](np.array([-12.0]), np.array([6])) == -2.0
    assert float(METRICS["perplexity"](values, tokens)) == pytest.approx(np.e**2)


def test_every_metric_that_a_task_names_is_there():
    assert set(METRICS) == {name for _, name in VALUES}


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
    got = METRICS[name].why_undefined(np.array(references))
    assert got is None if why is None else why in got


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="one of accuracy"):
        metric_named("rouge")
