"""The values of the metrics, over many predictions at once.

A bootstrap needs each metric on thousands of resamples, so the values of `prune_heads.tasks.metrics` are written
here again over arrays `(..., n_examples)`; the tests hold the two against each other.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

N_COUNTS = 10
"""Numbers of an example's prediction for `bleu`, as `tasks.bleu.bleu_counts` gives them."""


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
    return normalised(covariance, (1 - (predicted**2).sum(axis=-1)) * (1 - (true**2).sum(axis=-1)))


def pearson(predictions: Array, references: Array) -> Array:
    """Pearson correlation; 0 where one side is constant."""
    a = predictions - predictions.mean(axis=-1, keepdims=True, dtype=np.float64)
    b = references - references.mean(axis=-1, keepdims=True, dtype=np.float64)
    constant = (np.ptp(predictions, axis=-1) == 0) | (np.ptp(references, axis=-1) == 0)
    correlation = normalised((a * b).sum(axis=-1), (a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.where(constant, 0.0, correlation)


def spearmanr(predictions: Array, references: Array) -> Array:
    """Spearman correlation, ties sharing their mean rank; 0 where one side is constant."""
    from scipy.stats import rankdata

    return pearson(rankdata(predictions, axis=-1), rankdata(references, axis=-1))


def log_likelihood(predictions: Array, references: Array) -> Array:
    """Nats a predicted token: sums of log-likelihoods over numbers of tokens, each summed over the examples."""
    return np.asarray(predictions.sum(axis=-1, dtype=np.float64) / references.sum(axis=-1))


def perplexity(predictions: Array, references: Array) -> Array:
    """`exp` of minus the log-likelihood of a token."""
    return np.exp(-log_likelihood(predictions, references))


def bleu(predictions: Array, references: Array) -> Array:
    """Corpus BLEU as a share, of counts `(..., n_examples, N_COUNTS)`."""
    return bleu_of_sums(predictions.sum(axis=-2, dtype=np.float64))


def bleu_of_sums(sums: Array) -> Array:
    """`bleu` of counts that have been summed over the examples, `(..., N_COUNTS)`.

    With sacrebleu's smoothing `exp`: the first length of which no n-gram is right counts as half of one, the next as a
    quarter, and so on. Where no word is right, or no translation has four words, BLEU is 0.
    """
    right, total, length, wanted = sums[..., :4], sums[..., 4:8], sums[..., 8], sums[..., 9]
    smoothed = np.where(right > 0, right, 0.5 ** np.cumsum(right == 0, axis=-1))
    mean = np.exp(np.log(smoothed / np.maximum(total, 1)).mean(axis=-1))
    brevity = np.exp(np.minimum(0, 1 - wanted / np.maximum(length, 1)))
    return np.asarray(np.where((right > 0).any(axis=-1) & (total > 0).all(axis=-1), brevity * mean, 0.0))


METRIC_VALUES: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
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
"""Name of a metric's value -> function of predictions and references `(..., n_examples)`, giving `(...)`.

An example's prediction is one number, but for `bleu`.
"""


def why_undefined(value_name: str, references: Array) -> str | None:
    """Why a metric means nothing on these examples, whatever is predicted; None where it means something.

    The functions above give 0 then, as the official metrics do; a table should say this sentence instead.

    Args:
        value_name: Key of `METRIC_VALUES`.
        references: `(n_examples,)` true labels or scores, or numbers of predicted tokens.
    """
    if value_name not in METRIC_VALUES:
        raise ValueError(f"the metric must be one of {', '.join(METRIC_VALUES)}, got {value_name!r}")
    if len(references) == 0:
        return f"{value_name} needs examples, and there are none"
    if value_name == "f1" and not (references == 1).any():
        return f"f1 needs examples of its positive label, and none of the {len(references)} has it"
    if value_name in ("matthews_correlation", "pearson", "spearmanr") and np.ptp(references) == 0:
        what = "labels" if value_name == "matthews_correlation" else "scores"
        return f"{value_name} needs {what} that differ, and those of all {len(references)} examples are alike"
    return None


def normalised(covariance: Array, variances: Array) -> Array:
    """Covariance over the root of the product of two variances; 0 where this product is 0."""
    safe = np.where(variances > 0, variances, 1.0)
    return np.asarray(np.where(variances > 0, covariance / np.sqrt(safe), 0.0))
