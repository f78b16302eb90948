"""Metrics on bootstrap resamples, fast: a resample is a weight for each example.

Drawing n of n examples with replacement gives them multinomial weights. A metric of labels depends only on how
many examples have which labels, so examples that agree in their predictions and their truth are one cell and a
few cells are drawn instead of thousands of examples. Metrics of scores are sums over weighted examples.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from prune_heads.statistics.values import Array, bleu_of_sums, normalised

CHUNK = 200_000
"""Weights in memory at once, a megabyte or two: they stay in the processor's cache."""


def resampled_values(
    value_name: str, predictions: Sequence[Array], references: Array, *, seed: int, n_resamples: int
) -> Array:
    """A metric of several predictions on the same resamples of their examples.

    Args:
        value_name: Key of `WEIGHTED_VALUES`.
        predictions: Vectors `(n_examples,)` for the same examples, which stay paired; for `bleu`
            `(n_examples, N_COUNTS)`.
        references: `(n_examples,)` true labels or scores.
        seed: Of the resampling.
        n_resamples: Resamples.

    Returns:
        `(len(predictions), n_resamples)`.
    """
    value = WEIGHTED_VALUES[value_name]
    rng = np.random.default_rng(seed)
    if value_name in _OF_A_LABEL:
        of_a_label = _OF_A_LABEL[value_name]
        labels, counts = joint_counts([of_a_label(each, references) for each in (*predictions, references)])
        cells, weights = list(labels), _weights_of_cells(rng, counts, n_resamples)
    else:
        cells = [each.astype(np.float64) for each in (*predictions, references)]
        weights = _weights_of_examples(rng, len(references), n_resamples)
    *predicted, true = cells
    return np.concatenate([[value(each, true, chunk) for each in predicted] for chunk in weights], axis=1)


def joint_counts(columns: Sequence[Array]) -> tuple[Array, Array]:
    """The combinations of labels that occur `(len(columns), n_cells)`, the most frequent first, and their counts."""
    shape = [int(column.max()) + 1 for column in columns]
    whole = [column.astype(np.int64) for column in columns]
    if math.prod(shape) <= np.iinfo(np.int64).max:
        codes, counts = np.unique(np.ravel_multi_index(whole, shape), return_counts=True)
        cells = np.stack(np.unravel_index(codes, shape))
    else:  # more combinations than whole numbers; slower, in the same order
        cells, counts = np.unique(np.stack(whole), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")  # frequent cells first: what is left to draw is soon little
    return cells[:, order], counts[order]


def accuracy(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.accuracy` of examples `(m,)` that count as often as `weights` `(n_resamples, m)` say; `(n_resamples,)`.

    The other functions take and give the same.
    """
    return np.asarray(weights @ (predictions == references) / weights.sum(axis=1))


def f1(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.f1` of weighted examples."""
    both = weights @ ((predictions == 1) & (references == 1))
    either = weights @ (predictions == 1) + weights @ (references == 1)
    return np.asarray(2 * both / np.maximum(either, 1))


def matthews_correlation(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.matthews_correlation` of weighted examples."""
    labels = np.arange(max(predictions.max(), references.max()) + 1)
    predicted = weights @ (predictions[:, None] == labels)
    true = weights @ (references[:, None] == labels)
    right, n = weights @ (predictions == references), weights.sum(axis=1)
    # Whole numbers all along: one class alone gives a variance of exactly 0.
    covariance = right * n - (predicted * true).sum(axis=1)
    return normalised(covariance, (n**2 - (predicted**2).sum(axis=1)) * (n**2 - (true**2).sum(axis=1)))


def pearson(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.pearson` of weighted examples."""
    a, b = predictions - predictions.mean(), references - references.mean()
    n = weights.sum(axis=1)
    mean_a, mean_b, aa, bb, ab = (weights @ np.stack([a, b, a * a, b * b, a * b], axis=1) / n[:, None]).T
    variances = _rounding_to_zero(aa - mean_a**2, aa) * _rounding_to_zero(bb - mean_b**2, bb)
    return normalised(ab - mean_a * mean_b, variances)


def spearmanr(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.spearmanr` of weighted examples: they are ranked anew in every resample."""
    a, b = _centred_ranks(predictions, weights), _centred_ranks(references, weights)
    weighted = weights * a
    covariance, variance_a = (np.einsum("rm,rm->r", weighted, each) for each in (b, a))
    return normalised(covariance, variance_a * np.einsum("rm,rm,rm->r", weights, b, b))


def log_likelihood(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.log_likelihood` of weighted examples."""
    return np.asarray(weights @ predictions / (weights @ references))


def perplexity(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.perplexity` of weighted examples."""
    return np.exp(-log_likelihood(predictions, references, weights))


def bleu(predictions: Array, references: Array, weights: Array) -> Array:
    """`values.bleu` of weighted examples."""
    return bleu_of_sums(weights @ predictions)


WEIGHTED_VALUES: Mapping[str, Callable[[Array, Array, Array], Array]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "f1": f1,
        "matthews_correlation": matthews_correlation,
        "pearson": pearson,
        "spearmanr": spearmanr,
        "log_likelihood": log_likelihood,
        "perplexity": perplexity,
        "bleu": bleu,
    }
)
"""The keys of `METRIC_VALUES` -> the same value of weighted examples."""

_OF_A_LABEL: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {
        "accuracy": lambda labels, references: labels == references,
        "f1": lambda labels, references: labels == 1,
        "matthews_correlation": lambda labels, references: labels,
    }
)
"""Metric of labels -> all it needs to know of a label, so that few cells are left. The value stays the same."""


def _weights_of_cells(rng: np.random.Generator, counts: Array, n_resamples: int) -> Iterator[Array]:
    n = int(counts.sum())
    for rows in _chunks(n_resamples, len(counts)):
        yield rng.multinomial(n, counts / n, size=rows).astype(np.float64)


def _weights_of_examples(rng: np.random.Generator, n: int, n_resamples: int) -> Iterator[Array]:
    """As `_weights_of_cells` with a cell an example; counting what is drawn is faster for so many."""
    for rows in _chunks(n_resamples, n):
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def _chunks(n_resamples: int, n_weights: int) -> Iterator[int]:
    rows = max(1, CHUNK // n_weights)
    for start in range(0, n_resamples, rows):
        yield min(rows, n_resamples - start)


def _rounding_to_zero(variance: Array, square: Array) -> Array:
    """A resample may hold one value only; the difference of its moments is then rounding, of either sign."""
    return np.where(variance > 1e-12 * square, variance, 0.0)


def _centred_ranks(values: Array, weights: Array) -> Array:
    """Mean rank of each example in each resample less the mean of all ranks, `(n_resamples, m)`.

    An example drawn w times takes w ranks, and equal values share theirs: below it is all that is drawn of smaller
    values, and half of its own value lies below the middle. Exact, for these are halves of whole numbers.
    """
    distinct, group = np.unique(values, return_inverse=True)
    if len(distinct) == len(values):
        drawn = weights[:, np.argsort(values)]
    else:
        order = np.argsort(group, kind="stable")
        drawn = np.add.reduceat(
            weights[:, order], np.searchsorted(group[order], range(len(distinct))), axis=1
        )
    middle = np.cumsum(drawn, axis=1) - drawn / 2
    return np.asarray((middle - drawn.sum(axis=1, keepdims=True) / 2)[:, group])
