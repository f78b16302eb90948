"""Scores from gate gradients by the estimators of published work, and the normalisation of any criterion's scores."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prune_heads.heads import HeadScores
from prune_heads.importance.gradient import GateGradients

_Matrix = NDArray[np.float64]


class Row(NamedTuple):
    """A row of `ESTIMATORS` or `NORMALIZERS`."""

    score: Callable[..., HeadScores]
    """`(GateGradients, batch_size)`, with a standard error of the mean; or of scores, whose errors are scaled as they
    are, taking the norm itself as exact."""
    summary: str


def _mean_of(of: Callable[[_Matrix], _Matrix]) -> Callable[[GateGradients, int], HeadScores]:
    """The mean over examples of a function of dL/dxi_h."""

    def score(gradients: GateGradients, batch_size: int) -> HeadScores:
        values = of(gradients.signed.astype(np.float64))
        return gradients.scores(values.mean(axis=0), standard_error(values))

    return score


def token(gradients: GateGradients, batch_size: int) -> HeadScores:
    """What the authors' code computes: absolute values token by token.

    Their sum is divided by the number of tokens, but in a classifier's last layer by the number of examples (there
    only the first token has a gradient). Tokens are those that the block works on: in an encoder-decoder the source's
    for the encoder, the target's for the decoder and for its attention to the encoder. Their loss was the mean of a
    batch, which divides all scores by the batch size; ours is the sum. The standard error is that of a ratio of means.
    """
    absolute = gradients.absolute.astype(np.float64)
    n_tokens = gradients.n_tokens if gradients.n_tokens.ndim == 2 else gradients.n_tokens[:, None]
    by_block = np.broadcast_to(n_tokens, (len(absolute), len(gradients.n_heads)))
    weights = np.repeat(by_block, gradients.n_heads, axis=1).astype(np.float64)
    if gradients.reads_one_token:
        weights[:, sum(gradients.n_heads[:-1]) :] = 1
    scores = absolute.sum(axis=0) / weights.sum(axis=0)
    residuals = absolute - scores * weights
    return gradients.scores(scores, standard_error(residuals / weights.mean(axis=0)))


def batch(gradients: GateGradients, batch_size: int) -> HeadScores:
    """Mean over batches of |mean over the batch of dL/dxi_h|.

    What scripts compute that keep one gate for a whole batch. Depends on the batch size: derivatives of
    opposite sign cancel within a batch. Batches are taken in file order; the last may be smaller and weighs less.
    """
    signed = gradients.signed.astype(np.float64)
    starts = np.arange(0, len(signed), batch_size)
    sizes = np.diff(np.append(starts, len(signed)))[:, None]
    sums = np.abs(np.add.reduceat(signed, starts, axis=0))
    scores = sums.sum(axis=0) / len(signed)
    return gradients.scores(scores, standard_error((sums - scores * sizes) / sizes.mean()))


ESTIMATORS: Mapping[str, Row] = {
    "example": Row(_mean_of(np.abs), "mean over examples of |dL/dgate| (the paper's equation 2)"),
    "token": Row(token, "absolute values token by token (the authors' code)"),
    "batch": Row(batch, "absolute value of the batch mean; depends on the batch size"),
    "fisher": Row(_mean_of(np.square), "mean over examples of the square"),
    "signed": Row(_mean_of(np.negative), "mean over examples without absolute value"),
}
"""`--estimator` -> how gate gradients become scores. `fisher` is the diagonal of the empirical Fisher information;
`signed` is -dL/dxi_h, the first-order increase of the loss when the head goes."""


def running_sum(gradients: GateGradients) -> HeadScores:
    """Mean over examples k of |g_1 + ... + g_k|, g the derivatives dL/dxi_h in file order. A defect, to be measured.

    transformers' run_bertology.py adds up the absolute gradient of its head mask after every batch, but never zeroes
    that gradient, to which each backward pass adds. At its default of one example a batch this is the sum of the
    absolute values of running sums: a head whose derivatives have a mean other than 0 grows with the square of the
    number of examples, and the order of the examples counts. Its division by the number of tokens scales all alike.
    There is no standard error, for the terms depend on each other.
    """
    sums = np.cumsum(gradients.signed, axis=0, dtype=np.float64)
    return gradients.scores(np.abs(sums, out=sums).mean(axis=0))


def standard_error(values: _Matrix) -> _Matrix | None:
    """Of the mean of the rows: `(total heads,)`; None when there is one row only, of which nothing can be estimated."""
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def l2(scores: HeadScores) -> HeadScores:
    """Each layer divided by its l2 norm plus 1e-20, as the authors do (paper, section 4.1)."""
    return _scaled(scores, 0.0, [np.sqrt(np.square(row).sum()) + 1e-20 for row in scores.values])


def min_max(scores: HeadScores) -> HeadScores:
    """All heads that are there mapped to 0 (least) to 1 (most important); equal scores all become 0."""
    flat = scores.flat()[np.concatenate([*scores.gone.keep(), np.zeros(0, dtype=bool)])]
    low, high = flat.min(initial=np.inf), flat.max(initial=-np.inf)
    return _scaled(scores, low, [high - low if high > low else 1.0] * len(scores.values))


def _scaled(scores: HeadScores, low: float, spans: list[float]) -> HeadScores:
    """Those of each layer less `low`, in units of its span; heads that are gone stay at 0."""
    rows = zip(scores.values, scores.gone.keep(), spans, strict=True)
    errors = scores.standard_error and tuple(e / span for e, span in zip(scores.standard_error, spans, strict=True))
    return replace(scores, values=tuple((row - low) * kept / span for row, kept, span in rows), standard_error=errors)


NORMALIZERS: Mapping[str, Row] = {
    "none": Row(lambda scores: scores, "as they are"),
    "l2": Row(l2, "each layer divided by its l2 norm (paper, section 4.1)"),
    "min-max": Row(min_max, "all heads together from 0 to 1"),
}
"""`--normalize` -> how the scores of any criterion are scaled."""
