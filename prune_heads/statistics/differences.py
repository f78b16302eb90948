"""Intervals and tests of a metric, and of its difference between two predictions of the same examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prune_heads.statistics.curves import area_under_curve
from prune_heads.statistics.resampling import resampled_values
from prune_heads.statistics.values import METRIC_VALUES, N_COUNTS, Array

N_RESAMPLES = 20_000
"""The smallest p of a bootstrap is 1 over one more. Times the 144 heads of BERT-base this is 0.0072: a head can
still pass Holm's correction at the paper's level of 0.01."""


@dataclass(frozen=True)
class Difference:
    """Metric of the second predictions minus metric of the first, with a confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest(Difference):
    """A difference with its two-sided p-value under the hypothesis that there is none."""

    p_value: float
    test: str
    """`exact McNemar` or `paired bootstrap`."""


def compare_paired(
    value_name: str,
    first: Array,
    second: Array,
    references: Array,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> PairedTest:
    """Is a metric of two predictions different, and by how much?

    Both predictions are resampled together. The interval is that of the percentiles. The p-value of accuracy is
    exact (`mcnemar`). That of every other metric is the share of resamples whose difference lies as far from the
    observed one as that lies from 0 (the bootstrap shifted to the hypothesis; Efron and Tibshirani, 1993, chapter
    16), with the observed one counted in, so it is never 0. It is too small where there are only a few examples
    and most of them change, for all resamples look alike then; a single example has p = 1.

    Args:
        value_name: Key of `METRIC_VALUES`, e.g. `accuracy`.
        first: `(n_examples,)` predicted labels or scores; for `bleu` `(n_examples, N_COUNTS)` counts.
        second: `(n_examples,)` predictions of the same examples.
        references: `(n_examples,)` true labels or scores.
        seed: Of the resampling; the result is a pure function of the arguments.
        n_resamples: Resamples.
        confidence: Share of resamples inside the interval.

    Raises:
        ValueError: The metric is unknown, the lengths differ, there is no example, or a value is not finite.
    """
    _check(value_name, first, second, references)
    test = "exact McNemar" if value_name == "accuracy" else "paired bootstrap"
    if np.array_equal(first, second):
        return PairedTest(0.0, 0.0, 0.0, 1.0, test)
    value = METRIC_VALUES[value_name]
    observed = float(value(second, references) - value(first, references))
    before, after = resampled_values(
        value_name, (first, second), references, seed=seed, n_resamples=n_resamples
    )
    differences = after - before
    if value_name == "accuracy":
        p_value = mcnemar(first, second, references)
    elif len(references) == 1:
        p_value = 1.0
    else:  # rounding must not turn a resample that is exactly as far into a nearer one
        as_far = np.abs(differences - observed) >= abs(observed) - 1e-12
        p_value = (1 + int(as_far.sum())) / (1 + n_resamples)
    return PairedTest(observed, *_percentiles(differences, confidence), p_value, test)


def compare_areas(
    value_name: str,
    fractions: Sequence[float],
    first: Sequence[Array],
    second: Sequence[Array],
    references: Array,
    *,
    seed: int,
    n_resamples: int = 1000,
    confidence: float = 0.95,
) -> Difference:
    """Difference of the areas under two curves over the same examples (`area_under_curve`), second minus first.

    The interval is that of the percentiles; the predictions of all points are resampled together. The points stay what
    they are: it does not say how much another sample would have changed the orders that the curves follow.

    Args:
        value_name: Key of `METRIC_VALUES`.
        fractions: `(n_points,)` shares of heads pruned.
        first: Predictions at each point, as `compare_paired` takes them.
        second: The same of the other curve.
        references: `(n_examples,)` true labels or scores.
        seed: Of the resampling; the result is a pure function of the arguments.
        n_resamples: Resamples.
        confidence: Share of resamples inside the interval.

    Raises:
        ValueError: As for `compare_paired` and `area_under_curve`.
    """
    _check(value_name, *first, *second, references)
    value = METRIC_VALUES[value_name]
    observed = [
        area_under_curve(fractions, [value(each, references) for each in one]) for one in (first, second)
    ]
    if all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
        return Difference(0.0, 0.0, 0.0)
    values = resampled_values(value_name, [*first, *second], references, seed=seed, n_resamples=n_resamples)
    before, after = values[: len(first)], values[len(first) :]
    differences = [area_under_curve(fractions, column) for column in (after - before).T]
    return Difference(observed[1] - observed[0], *_percentiles(np.asarray(differences), confidence))


def mcnemar(first: Array, second: Array, references: Array) -> float:
    """Exact two-sided p-value of McNemar's test that two predictions are right equally often.

    Of the examples where just one of the two is right, either is as likely to be it under the hypothesis: a
    binomial test (McNemar, 1947). It is 1 where there are no such examples.

    Args:
        first: `(n_examples,)` predicted labels.
        second: `(n_examples,)` predicted labels of the same examples.
        references: `(n_examples,)` true labels.

    Raises:
        ValueError: As for `compare_paired`.
    """
    _check("accuracy", first, second, references)
    right, also_right = first == references, second == references
    gained, lost = int((also_right & ~right).sum()), int((right & ~also_right).sum())
    if not gained + lost:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue)


def metric_interval(
    value_name: str,
    predictions: Array,
    references: Array,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval `(low, high)` of the metric itself; arguments as for `compare_paired`.

    Raises:
        ValueError: As for `compare_paired`.
    """
    _check(value_name, predictions, references)
    (values,) = resampled_values(value_name, (predictions,), references, seed=seed, n_resamples=n_resamples)
    return _percentiles(values, confidence)


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

    For a few comparisons: it draws an index an example. `scipy.stats.bootstrap` draws the same ones and gives the
    same interval; its import takes longer than the test. `compare_paired` is for tables of heads.

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
    observed = float(value(second, references) - value(first, references))
    n = len(references)
    if n < 2 or np.array_equal(first, second):
        return Difference(observed, observed, observed)
    if first.ndim > 1:
        before, after = resampled_values(
            metric_value, (first, second), references, seed=seed, n_resamples=n_resamples
        )
        return Difference(observed, *_percentiles(after - before, confidence))
    rng = np.random.default_rng(seed)
    size = max(1, 2_000_000 // n)  # about 50 MB at a time
    differences = []
    for start in range(0, n_resamples, size):
        drawn = rng.integers(0, n, (min(size, n_resamples - start), n))
        truth = references[drawn]
        differences.append(value(second[drawn], truth) - value(first[drawn], truth))
    return Difference(observed, *_percentiles(np.concatenate(differences), confidence))


def _percentiles(values: Array, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _check(value_name: str, *arrays: Array) -> None:
    """Predictions, then references."""
    if value_name not in METRIC_VALUES:
        raise ValueError(f"the metric must be one of {', '.join(METRIC_VALUES)}, got {value_name!r}")
    shapes = {array.shape for array in arrays}
    wanted = {arrays[-1].shape} | ({(len(arrays[-1]), N_COUNTS)} if value_name == "bleu" else set())
    if shapes != wanted or arrays[-1].ndim != 1 or arrays[-1].size == 0:
        raise ValueError(
            f"predictions and references must be vectors of one length, and not empty, got {sorted(shapes)}"
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("predictions and references must be finite, got NaN or infinity")
