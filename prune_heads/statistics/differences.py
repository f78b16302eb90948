"""Intervals and tests of a metric, and of its difference between two predictions of the same examples.

All intervals are percentiles over bootstrap resamples, which are fast: a resample is a weight for each example. Drawing
n of n examples with replacement gives them multinomial weights. A metric of labels depends only on how many examples
have which labels, so examples that agree in their predictions and their truth are one cell, and a few cells are drawn
instead of thousands of examples. Metrics of scores are sums over weighted examples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from prune_heads.statistics.groups import clustered_mcnemar, n_units
from prune_heads.statistics.metrics import Array, Metric, metric_named
from prune_heads.statistics.tables import area_under_curve

CONFIDENCE = 0.95  # of all intervals

N_RESAMPLES = 20_000
"""The smallest p of a bootstrap is 1 over one more. Times the 144 heads of BERT-base this is 0.0072: a head can
still pass Holm's correction at the paper's level of 0.01."""

CHUNK = 200_000  # weights in memory at once, a megabyte or two: they stay in the processor's cache


@dataclass(frozen=True)
class Difference:
    """Metric of the second predictions minus metric of the first, with a 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest(Difference):
    """A difference with its two-sided p-value under the hypothesis that there is none."""

    p_value: float
    test: str  # see `test_of`


def compare_paired(
    metric: str | Metric,
    first: Array,
    second: Array,
    references: Array,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    groups: Array | None = None,
) -> PairedTest:
    """Is a metric of two predictions different, and by how much?

    Both predictions are resampled together. The interval is that of the percentiles. The p-value of accuracy, and of
    every other share of examples, is exact (`mcnemar`). That of other metrics is the share of resamples whose
    difference lies as far from the observed one as that lies from 0 (the bootstrap shifted to the hypothesis; Efron and
    Tibshirani, 1993, chapter 16), with the observed one counted in, so it is never 0. Of few examples all resamples
    look alike, so it is at least 2^(1 - n), that of n signs which agree: a single example, or group, has p = 1. A
    `NotFiniteError` if a value is not finite; a `ValueError` if the metric is unknown, the lengths differ, or there is
    no example.

    Args:
        metric: A metric, or a key of `METRICS`, e.g. `accuracy`.
        first: `(n_examples,)` predicted labels or scores, or `(n_examples, width)` where the metric takes more.
        second: `(n_examples,)` predictions of the same examples.
        references: `(n_examples,)` true labels or scores.
        seed: Of the resampling; the result is a pure function of the arguments.
        n_resamples: Resamples.
        groups: `(n_examples,)` numbers from 0 of examples that belong together, which are drawn together; None: each is
            its own.
    """
    metric = metric_named(metric)
    observed = metric(second, references) - metric(first, references)
    if np.array_equal(first, second):
        return PairedTest(0.0, 0.0, 0.0, 1.0, test_of(metric, groups))
    before, after = resampled_values(metric, (first, second), references, seed, n_resamples, groups=groups)
    exact = exact_p(metric, first, second, references, groups)
    p_value = bootstrap_p(observed, after - before, n_units(len(references), groups)) if exact is None else exact
    return PairedTest(observed, *percentiles(after - before), p_value, test_of(metric, groups))


def test_of(metric: Metric | None, groups: Array | None) -> str:
    """The name of the test of `compare_paired`; None for the mean of any numbers."""
    if metric is not None and metric.is_share:
        return "exact McNemar" if groups is None else "clustered McNemar"
    return "paired bootstrap" if groups is None else "paired bootstrap of groups"


def exact_p(metric: Metric, first: Array, second: Array, references: Array, groups: Array | None) -> float | None:
    """By McNemar's test, of a share; None for other metrics."""
    if not metric.is_share or metric.each is None:
        return None
    right, also_right = metric.each(first, references), metric.each(second, references)
    return mcnemar(right, also_right) if groups is None else clustered_mcnemar(right, also_right, groups)


def bootstrap_p(observed: float, draws: Array, n: int) -> float:
    """The share of draws as far from what was observed as that is from 0; no less than n units of one sign say."""
    as_far = np.abs(draws - observed) >= abs(observed) - 1e-12  # which rounding must not bring nearer
    return max((1 + int(as_far.sum())) / (1 + len(draws)), 2.0 ** (1 - n))


def mcnemar(right: Array, also_right: Array) -> float:
    """Exact two-sided p-value of McNemar's test that two predictions are right equally often.

    Of the examples where just one of the two is right, either is as likely to be it under the hypothesis: a
    binomial test (McNemar, 1947). It is 1 where there are no such examples.

    Args:
        right: `(n_examples,)` whether the first prediction is right, or 0 and 1.
        also_right: The same of the second.
    """
    gained, lost = int((also_right > right).sum()), int((right > also_right).sum())
    return float(scipy.stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def paired_bootstrap(
    metric: str | Metric,
    first: Array,
    second: Array,
    references: Array,
    *,
    seed: int,
    n_resamples: int = 1000,
    groups: Array | None = None,
) -> Difference:
    """The difference with its interval alone; arguments as for `compare_paired`.

    For a few comparisons: examples are drawn as `scipy.stats.bootstrap` draws them, and records of runs hold the
    numbers. `compare_paired` is for tables of heads.
    """
    metric = metric_named(metric)
    observed = metric(second, references) - metric(first, references)
    if len(references) < 2 or np.array_equal(first, second):
        return Difference(observed, observed, observed)
    before, after = resampled_values(metric, (first, second), references, seed, n_resamples, False, groups)
    return Difference(observed, *percentiles(after - before))


def compare_areas(
    metric: str | Metric,
    counts: Sequence[float],
    first: Sequence[Array],
    second: Sequence[Array],
    references: Array,
    *,
    seed: int,
    n_resamples: int = 1000,
    groups: Array | None = None,
) -> Difference:
    """Difference of the areas under two curves over the same examples (`area_under_curve`), second minus first.

    Each curve is of predictions at every point, where `counts` heads are pruned; other arguments as for
    `compare_paired`. The predictions of all points are resampled together. The points stay what they are: the interval
    does not say how much another sample would have changed the orders that the curves follow.
    """
    metric = metric_named(metric)
    observed = [area_under_curve(counts, [metric(each, references) for each in one]) for one in (first, second)]
    if all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)):
        return Difference(0.0, 0.0, 0.0)
    values = resampled_values(metric, [*first, *second], references, seed, n_resamples, groups=groups)
    before, after = values[: len(first)], values[len(first) :]
    differences = np.asarray([area_under_curve(counts, column) for column in (after - before).T])
    return Difference(observed[1] - observed[0], *percentiles(differences))


def metric_interval(
    metric: str | Metric,
    predictions: Array,
    references: Array,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    groups: Array | None = None,
) -> tuple[float, float]:
    """Percentile interval of the metric itself, of a share without spread Wilson's; arguments of `compare_paired`."""
    metric = metric_named(metric)
    metric.check(predictions, references)
    (values,) = resampled_values(metric, (predictions,), references, seed, n_resamples, groups=groups)
    low, high = percentiles(values)
    if metric.is_share and low == high:
        rest = 1.96**2 / (n_units(len(references), groups) + 1.96**2)
        low, high = max(0.0, low - rest), min(1.0, high + rest)
    return low, high


def percentiles(values: Array) -> tuple[float, float]:
    """Of 95% of the values."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def resampled_values(
    metric: Metric,
    predictions: Sequence[Array],
    references: Array,
    seed: int,
    n_resamples: int,
    by_cells: bool = True,
    groups: Array | None = None,
) -> Array:
    """`(len(predictions), n_resamples)`: a metric of several predictions on the same resamples of their examples.

    Groups of examples are drawn whole. Without them cells are drawn where the metric has some, unless `by_cells` is
    False: to draw examples gives other draws of the same resampling.
    """
    rng, cell = np.random.default_rng(seed), metric.cell
    n = n_units(len(references), groups)
    columns, counts = [*predictions, references], None
    if cell is None:
        columns = [each.astype(np.float64) for each in columns]
    elif by_cells and groups is None:
        cells, counts = joint_counts([cell(each, references) for each in columns])
        columns = list(cells)
    rows = max(1, CHUNK // len(columns[-1]))
    values = []
    for drawn in resampled_weights(rng, n, n_resamples, rows, counts):
        weights = drawn if groups is None else drawn[:, groups]
        values.append([metric.weighted(each, columns[-1], weights) for each in columns[:-1]])
    return np.concatenate(values, axis=1)


def resampled_weights(
    rng: np.random.Generator, n: int, n_resamples: int, rows: int, counts: Array | None = None
) -> Iterator[Array]:
    """How often n draws give each of n examples, or each cell that has so many of them; some `rows` at a time."""
    for size in (min(rows, n_resamples - start) for start in range(0, n_resamples, rows)):
        if counts is not None:
            yield rng.multinomial(n, counts / n, size=size).astype(np.float64)
        else:  # counting what is drawn is faster for so many
            drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
            yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def joint_counts(columns: Sequence[Array]) -> tuple[Array, Array]:
    """The combinations of labels that occur `(len(columns), n_cells)`, the most frequent first, and their counts."""
    whole = np.stack([column.astype(np.int64) for column in columns])
    codes = np.zeros(whole.shape[1], dtype=np.int64)
    for column in whole:  # small numbers in the order of the combinations, however many columns there are
        codes = np.unique(codes * (column.max() + 1) + column, return_inverse=True)[1]
    _, places, counts = np.unique(codes, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")  # frequent cells first: what is left to draw is soon little
    return whole[:, places[order]], counts[order]
