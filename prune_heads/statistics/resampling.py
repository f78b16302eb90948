"""Metrics on bootstrap resamples, fast: a resample is a weight for each example.

Drawing n of n examples with replacement gives them multinomial weights. A metric of labels depends only on how
many examples have which labels, so examples that agree in their predictions and their truth are one cell and a
few cells are drawn instead of thousands of examples. Metrics of scores are sums over weighted examples.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from prune_heads.statistics.metrics import Array, Metric

CHUNK = 200_000
"""Weights in memory at once, a megabyte or two: they stay in the processor's cache."""


def resampled_values(
    metric: Metric,
    predictions: Sequence[Array],
    references: Array,
    *,
    seed: int,
    n_resamples: int,
    by_cells: bool = True,
) -> Array:
    """A metric of several predictions on the same resamples of their examples.

    Args:
        metric: Which.
        predictions: Of the same examples, `(n_examples,)` or `(n_examples, width)` each, which stay paired.
        references: `(n_examples,)` true labels or scores.
        seed: Of the resampling.
        n_resamples: Resamples.
        by_cells: Draw cells where the metric has some; else examples, which gives other draws of the same resampling.

    Returns:
        `(len(predictions), n_resamples)`.
    """
    rng = np.random.default_rng(seed)
    if metric.cell is not None and by_cells:
        of_a_label = metric.cell
        labels, counts = joint_counts([of_a_label(each, references) for each in (*predictions, references)])
        cells, weights = list(labels), _weights_of_cells(rng, counts, n_resamples)
    else:
        cells = [*predictions, references]
        if metric.cell is None:
            cells = [each.astype(np.float64) for each in cells]
        weights = _weights_of_examples(rng, len(references), n_resamples)
    *predicted, true = cells
    return np.concatenate([[metric.weighted(each, true, chunk) for each in predicted] for chunk in weights], axis=1)


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
