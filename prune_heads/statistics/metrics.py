"""The metrics, once: functions of examples that count as often as weights say, so that a bootstrap is one call.

A metric of a split has weights of 1. Ties, constants and empty classes give 0, as the official metrics do.
`prune_heads.tasks.metrics` wraps them as `evaluate.Metric`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prune_heads.errors import NotFiniteError

Array = NDArray[Any]
Numbers = Callable[[Array, Array], Array]  # (predictions, references) -> a number of each example


@dataclass(frozen=True)
class Metric:
    """One number for predictions: higher is better, but for perplexity."""

    name: str
    weighted: Callable[[Array, Array, Array], Array]
    """(predictions and references, `(m,)` or `(m, width)`, weights `(n, m)`) -> `(n,)`."""
    width: int | None = None  # numbers of a prediction, `(m, width)`; None where any will do, such as one, `(m,)`
    cell: Numbers | None = None
    """All that it needs of each prediction, few different whole numbers. Examples that agree in it and in their
    reference are resampled as one cell. None: predictions are scores."""
    each: Numbers | None = None  # whose mean the metric is; None where it is no mean
    over: Numbers | None = None  # numbers `(m,)` or `(m, k)` whose sum it is divided by, where it is a ratio of sums
    is_share: bool = False  # whether `each` is 0 or 1, so that a difference has an exact test (McNemar)
    undefined: Callable[[Array], str | None] = lambda references: None
    """(references) -> what it needs, where it means nothing on them, whatever is predicted."""

    def __call__(self, predictions: ArrayLike, references: ArrayLike) -> float:
        """Of a split. Raises as `check`."""
        made, true = np.asarray(predictions), np.asarray(references)
        self.check(made, true)
        return float(self.weighted(made, true, np.ones((1, len(true))))[0])

    def check(self, predictions: Array, references: Array) -> None:
        """Refuse what it cannot be computed of.

        A `NotFiniteError` if a number is NaN or infinite; a `ValueError` if the lengths differ, there is no example, or
        a prediction has another width.
        """
        width = predictions.shape[1:] if self.width is None else (self.width,)
        if not len(references) or predictions.shape != (len(references), *width):
            shapes = f"{predictions.shape} and {references.shape}"
            raise ValueError(f"predictions and references must be of one length, and not empty, got {shapes}")
        for what, array in (("predictions", predictions), ("references", references)):
            if n_bad := array.size - int(np.isfinite(array).sum()):
                raise NotFiniteError(f"{what} must be finite, got NaN or infinity in {n_bad} of {array.size}")

    def why_undefined(self, references: Array) -> str | None:
        """Why it means nothing on these examples, whatever is predicted; None where it means something.

        It is 0 then; a table should say this sentence instead.
        """
        if len(references) == 0:
            return f"{self.name} needs examples, and there are none"
        needs = self.undefined(references)
        return needs and f"{self.name} needs {needs}"


def mean_of(name: str, each: Numbers, over: Numbers | None = None, **rest: Any) -> Metric:
    """The mean of a number an example; with `over`, their sum over the sum of other numbers, 0 where this is 0.

    Both may be `(m, k)`, which gives the mean of k such ratios. The `rest` are fields of `Metric`.
    """

    def weighted(predictions: Array, references: Array, weights: Array) -> Array:
        total = weights @ each(predictions, references)
        if over is None:
            return np.asarray(total / weights.sum(axis=1))
        whole = weights @ over(predictions, references)
        return np.asarray(total / np.where(whole > 0, whole, 1)).reshape(len(weights), -1).mean(axis=1)

    return Metric(name, weighted, each=each if over is None else None, over=over, **rest)


def unless(holds: Callable[[Array], Any], said: str) -> Callable[[Array], str | None]:
    """For `Metric.undefined`: what is needed, given the number of examples, unless it holds of the references."""
    return lambda references: None if holds(references) else said.format(len(references))


def _matthews_correlation(predictions: Array, references: Array, weights: Array) -> Array:
    """Of any number of classes; 0 where predictions or labels are all alike."""
    labels = np.arange(max(predictions.max(), references.max()) + 1)
    predicted = weights @ (predictions[:, None] == labels)
    true = weights @ (references[:, None] == labels)
    right, n = weights @ (predictions == references), weights.sum(axis=1)
    # Whole numbers all along: one class alone gives a variance of exactly 0.
    covariance = right * n - (predicted * true).sum(axis=1)
    return _normalised(covariance, (n**2 - (predicted**2).sum(axis=1)) * (n**2 - (true**2).sum(axis=1)))


def _pearson(predictions: Array, references: Array, weights: Array) -> Array:
    """0 where one side is constant."""
    a, b = (x - x.mean() for x in (np.asarray(predictions, float), np.asarray(references, float)))
    n = weights.sum(axis=1)
    mean_a, mean_b, aa, bb, ab = (weights @ np.stack([a, b, a * a, b * b, a * b], axis=1) / n[:, None]).T
    variances = _rounding_to_zero(aa - mean_a**2, aa) * _rounding_to_zero(bb - mean_b**2, bb)
    return _normalised(ab - mean_a * mean_b, variances)


def _spearmanr(predictions: Array, references: Array, weights: Array) -> Array:
    """Ranks are taken anew for each row of weights; ties share their mean rank. 0 where one side is constant."""
    a, b = _centred_ranks(predictions, weights), _centred_ranks(references, weights)
    weighted = weights * a
    covariance, variance_a = (np.einsum("rm,rm->r", weighted, each) for each in (b, a))
    return _normalised(covariance, variance_a * np.einsum("rm,rm,rm->r", weights, b, b))


_LOG_LIKELIHOOD = mean_of("log_likelihood", lambda sums, n_tokens: sums.astype(float), lambda sums, n_tokens: n_tokens)
"""Nats a predicted token: sums of log-likelihoods over numbers of tokens, each summed over the examples."""


def _perplexity(predictions: Array, references: Array, weights: Array) -> Array:
    """`exp` of minus the log-likelihood of a token; refuses a split's own that is beyond all numbers."""
    nats = _LOG_LIKELIHOOD.weighted(predictions, references, weights)
    with np.errstate(over="ignore"):
        values = np.exp(-nats)
    if len(values) == 1 and not np.isfinite(values).all():
        got = f"{nats[0]:.4g} nats a token. Try --dtype float32, and check that the tokenizer is the model's own"
        raise NotFiniteError(f"perplexity must be finite; got a log-likelihood of {got}")
    return values


N_COUNTS = 10
"""Numbers of a translation for BLEU: right n-grams of 1 to 4 words, all n-grams, words of it and of its reference."""


def _bleu(predictions: Array, references: Array, weights: Array) -> Array:
    """Corpus BLEU as a share, of counts `(m, N_COUNTS)`.

    With sacrebleu's smoothing `exp`: the first length of which no n-gram is right counts as half of one, the next as a
    quarter, and so on. Where no word is right, or no translation has four words, BLEU is 0.
    """
    sums = weights @ predictions.astype(float)
    return np.where((sums[..., 4:8] > 0).all(axis=-1), sentence_bleu(sums), 0.0)


def sentence_bleu(counts: Array) -> Array:
    """BLEU of each translation alone, `(m,)` of counts `(m, N_COUNTS)`, as a share.

    As sacrebleu's `sentence_score` with its effective order: over the lengths of n-grams that the translation has.
    """
    counts = counts.astype(float)
    right, total, length, wanted = counts[..., :4], counts[..., 4:8], counts[..., 8], counts[..., 9]
    smoothed = np.where(right > 0, right, 0.5 ** np.cumsum(right == 0, axis=-1))
    logs = np.where(total > 0, np.log(smoothed / np.maximum(total, 1)), 0.0)
    mean = np.exp(logs.sum(axis=-1) / np.maximum((total > 0).sum(axis=-1), 1))
    brevity = np.exp(np.minimum(0, 1 - wanted / np.maximum(length, 1)))
    return np.asarray(np.where((right > 0).any(axis=-1), brevity * mean, 0.0))


_ALIKE = " that differ, and those of all {} examples are alike"
_UNLIKE = {of: unless(np.ptp, of + _ALIKE) for of in ("labels", "scores")}

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        mean_of("accuracy", np.equal, is_share=True, cell=np.equal),
        mean_of(
            "f1",  # of label 1
            lambda made, true: 2 * ((made == 1) & (true == 1)),
            lambda made, true: 1 * (made == 1) + (true == 1),
            cell=lambda made, true: made == 1,
            undefined=unless(lambda true: 1 in true, "examples of its positive label, and none of the {} has it"),
        ),
        Metric("matthews_correlation", _matthews_correlation, cell=lambda made, _: made, undefined=_UNLIKE["labels"]),
        Metric("pearson", _pearson, undefined=_UNLIKE["scores"]),
        Metric("spearmanr", _spearmanr, undefined=_UNLIKE["scores"]),
        _LOG_LIKELIHOOD,
        Metric("perplexity", _perplexity),
        Metric("bleu", _bleu, N_COUNTS),
    )
}
"""The metrics of the objectives that share them, by name.

Of `log_likelihood` and `perplexity` a prediction is the sum of an example's log-likelihoods, its reference the number
of its predicted tokens; of `bleu` its `N_COUNTS` counts, which are of its reference too.
"""


def metric_named(metric: str | Metric) -> Metric:
    """A metric by its name, or itself; a `ValueError` if there is none of that name."""
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"the metric must be one of {', '.join(METRICS)}, got {metric!r}")
    return METRICS[metric]


def _normalised(covariance: Array, variances: Array) -> Array:
    """Covariance over the root of the product of two variances; 0 where this product is 0."""
    safe = np.where(variances > 0, variances, 1.0)
    return np.asarray(np.where(variances > 0, covariance / np.sqrt(safe), 0.0))


def _rounding_to_zero(variance: Array, square: Array) -> Array:
    """A resample may hold one value only; the difference of its moments is then rounding, of either sign."""
    return np.where(variance > 1e-12 * square, variance, 0.0)


def _centred_ranks(values: Array, weights: Array) -> Array:
    """Mean rank of each example in each resample less the mean of all ranks, `(n_resamples, m)`.

    An example drawn w times takes w ranks, and equal values share theirs: below it is all that is drawn of smaller
    values, and half of its own value lies below the middle. Exact, for these are halves of whole numbers.
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    up_to = np.cumsum(weights[:, np.argsort(values)], axis=1)[:, np.cumsum(counts) - 1]
    middle = up_to - np.diff(up_to, prepend=0, axis=1) / 2
    return np.asarray((middle - up_to[:, -1:] / 2)[:, group])
