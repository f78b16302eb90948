import math

import evaluate
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_heads.errors import NotFiniteError
from prune_heads.objectives import METRIC_NAMES
from prune_heads.statistics import METRICS as VALUES
from prune_heads.statistics import metric_named
from prune_heads.tasks.metrics import METRICS

BINARY = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=50)
SCORES = st.lists(st.tuples(st.floats(-10, 10), st.floats(0, 5)), min_size=1, max_size=50)


def test_the_tables_agree():
    shared = {metric for metric, names in METRIC_NAMES.items() if set(names) <= set(VALUES)}
    assert set(METRICS) == shared
    assert all(issubclass(metric, evaluate.Metric) for metric in METRICS.values())


def compute_metrics(metric, predictions, references):
    return {name: VALUES[name](predictions, references) for name in METRIC_NAMES[metric]}


@pytest.mark.parametrize("metric", METRICS)
def test_each_metric_gives_the_values_it_is_listed_with(metric, tmp_path):
    predictions = np.ones((4, 10)) if metric == "bleu" else [0, 1, 1, 0]
    values = compute_metrics(metric, predictions, [0, 1, 0, 1])
    loaded = METRICS[metric](cache_dir=str(tmp_path), keep_in_memory=True)
    assert loaded.compute(predictions=predictions, references=[0, 1, 0, 1]) == values
    assert tuple(values) == METRIC_NAMES[metric]
    assert all(type(value) is float for value in values.values())


def test_known_answers():
    # 3 true positives, 1 false positive, 2 false negatives, 4 true negatives.
    predictions, references = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    assert compute_metrics("accuracy", predictions, references) == {"accuracy": 0.7}
    assert compute_metrics("f1", predictions, references) == pytest.approx({"f1": 6 / 9, "accuracy": 0.7})
    expected = (3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6)
    assert compute_metrics("matthews_correlation", predictions, references) == pytest.approx(
        {"matthews_correlation": expected}
    )
    # Deviations (-1, 0, 1) and (-1, 1, 0): r = 1 / 2, and so for the ranks.
    assert compute_metrics("pearson", [1.0, 2.0, 3.0], [0.0, 2.0, 1.0]) == pytest.approx(
        {"pearson": 0.5, "spearmanr": 0.5}
    )


def test_three_classes():
    predictions, references = [0, 1, 2, 2], [0, 1, 2, 1]
    assert compute_metrics("accuracy", predictions, references) == {"accuracy": 0.75}
    expected = sklearn.metrics.matthews_corrcoef(references, predictions)
    assert compute_metrics("matthews_correlation", predictions, references)["matthews_correlation"] == expected


@given(BINARY)
@settings(max_examples=50, deadline=None)
def test_classes_agree_with_counting(pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    hits = sum(p == r for p, r in pairs)
    tp, fp, fn = pairs.count((1, 1)), pairs.count((1, 0)), pairs.count((0, 1))
    tn = len(pairs) - tp - fp - fn
    values = compute_metrics("f1", predictions, references)
    assert values["accuracy"] == pytest.approx(hits / len(pairs))
    assert values["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp else 0.0)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    mcc = (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0
    assert compute_metrics("matthews_correlation", predictions, references) == pytest.approx(
        {"matthews_correlation": mcc}
    )


@given(SCORES)
def test_correlations_are_finite_and_agree_with_scipy_in_double_precision(pairs):
    predictions, references = (np.array(side) for side in zip(*pairs, strict=True))
    values = compute_metrics("pearson", predictions, references)
    assert all(-1 - 1e-9 <= value <= 1 + 1e-9 for value in values.values())
    if min(np.std(predictions), np.std(references)) > 1e-3:
        assert values["pearson"] == pytest.approx(scipy.stats.pearsonr(predictions, references).statistic, abs=1e-12)
        assert values["spearmanr"] == pytest.approx(scipy.stats.spearmanr(predictions, references).statistic, abs=1e-12)


@pytest.mark.parametrize("metric", ["matthews_correlation", "pearson"])
@pytest.mark.parametrize("constant", [0, 1])
def test_a_constant_predictor_shows_no_relation(metric, constant):
    values = compute_metrics(metric, [constant] * 4, [0, 1, 0, 1])
    assert set(values.values()) == {0.0}


def test_f1_of_no_positive_is_zero():
    assert compute_metrics("f1", [0, 0], [0, 0]) == {"f1": 0.0, "accuracy": 1.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("metric", METRICS)
def test_what_is_not_finite_is_refused(metric, bad):
    predictions = np.array([[bad, *[1.0] * 9], [1.0] * 10]) if metric == "bleu" else [bad, 1.0]
    with pytest.raises(NotFiniteError, match="predictions must be finite, got NaN or infinity in 1 of "):
        compute_metrics(metric, predictions, [0, 1])


def test_a_perplexity_beyond_all_numbers_is_refused():
    assert compute_metrics("log_likelihood", [-3.0, -1.0], [3, 1]) == {"log_likelihood": -1.0, "perplexity": math.e}
    with pytest.raises(NotFiniteError, match="log-likelihood of -800 nats a token"):
        compute_metrics("log_likelihood", np.array([-1600.0]), [2])


def test_unknown_metrics_and_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="must be one of accuracy, f1"):
        metric_named("acuracy")
    with pytest.raises(ValueError, match=r"got \(1,\) and \(2,\)"):
        compute_metrics("accuracy", [0], [0, 1])
    with pytest.raises(ValueError, match=r"got \(0,\) and \(0,\)"):
        compute_metrics("pearson", [], [])
