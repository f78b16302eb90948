"""Intervals for differences of a metric between two predictions of the same examples. Pure functions.

The bootstrap needs each metric on thousands of resamples, so the values of `prune_heads.tasks.metrics` are
written here again over arrays `(..., n_examples)`; the tests hold the two against each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """Metric of the second predictions minus metric of the first, with a confidence interval."""

    value: float
    low: float
    high: float


def paired_bootstrap(
    metric_value: str,
    first: Array,
    second: Array,
    references: Array,
    *,
    seed: int,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> Difference:
    """Percentile interval of a difference, resampling examples: both predictions stay paired.

    Args:
        metric_value: Key of `METRIC_VALUES`, e.g. `accuracy`.
        first: `(n_examples,)` predictions.
        second: `(n_examples,)` predictions of the same examples.
        references: `(n_examples,)` true labels or scores.
        seed: Of the resampling; the result is a pure function of the arguments.
        n_resamples: Resamples.
        confidence: Share of resamples inside the interval.
    """
    value = METRIC_VALUES[metric_value]

    def difference(a: Array, b: Array, truth: Array, axis: int = -1) -> Array:
        return value(np.moveaxis(b, axis, -1), np.moveaxis(truth, axis, -1)) - value(
            np.moveaxis(a, axis, -1), np.moveaxis(truth, axis, -1)
        )

    observed = float(difference(first, second, references))
    if len(references) < 2 or np.array_equal(first, second):  # scipy resamples two examples or more
        return Difference(observed, observed, observed)
    result = scipy.stats.bootstrap(
        (first, second, references),
        difference,
        paired=True,
        vectorized=True,
        n_resamples=n_resamples,
        batch=max(1, 2_000_000 // len(references)),  # about 50 MB at a time
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Difference(observed, float(result.confidence_interval.low), float(result.confidence_interval.high))


def accuracy(predictions: Array, references: Array) -> Array:
    """Share of right labels."""
    return np.asarray((predictions == references).mean(axis=-1))


def f1(predictions: Array, references: Array) -> Array:
    """F1 of label 1; 0 where label 1 is neither predicted nor there."""
    both = ((predictions == 1) & (references == 1)).sum(axis=-1)
    either = (predictions == 1).sum(axis=-1) + (references == 1).sum(axis=-1)
    return np.asarray(2 * both / np.maximum(either, 1))


def matthews_correlation(predictions: Array, references: Array) -> Array:
    """Matthews correlation of any number of classes; 0 where predictions or labels are all alike."""
    n_labels = int(max(predictions.max(), references.max())) + 1
    n = predictions.shape[-1]
    predicted = np.stack([(predictions == label).sum(axis=-1) for label in range(n_labels)], axis=-1) / n
    true = np.stack([(references == label).sum(axis=-1) for label in range(n_labels)], axis=-1) / n
    covariance = accuracy(predictions, references) - (predicted * true).sum(axis=-1)
    return _ratio(covariance, (1 - (predicted**2).sum(axis=-1)) * (1 - (true**2).sum(axis=-1)))


def pearson(predictions: Array, references: Array) -> Array:
    """Pearson correlation; 0 where one side is constant."""
    a = predictions - predictions.mean(axis=-1, keepdims=True, dtype=np.float64)
    b = references - references.mean(axis=-1, keepdims=True, dtype=np.float64)
    constant = (np.ptp(predictions, axis=-1) == 0) | (np.ptp(references, axis=-1) == 0)
    correlation = _ratio((a * b).sum(axis=-1), (a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.where(constant, 0.0, correlation)


def spearmanr(predictions: Array, references: Array) -> Array:
    """Spearman correlation, ties sharing their mean rank; 0 where one side is constant."""
    return pearson(scipy.stats.rankdata(predictions, axis=-1), scipy.stats.rankdata(references, axis=-1))


METRIC_VALUES: Mapping[str, Callable[[Array, Array], Array]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearmanr": spearmanr,
}
"""Name of a metric's value -> function of predictions and references `(..., n_examples)`, giving `(...)`."""


def _ratio(covariance: Array, variances: Array) -> Array:
    safe = np.where(variances > 0, variances, 1.0)
    return np.asarray(np.where(variances > 0, covariance / np.sqrt(safe), 0.0))
