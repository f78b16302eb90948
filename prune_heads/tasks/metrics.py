"""The official GLUE metrics, and those of language models and translations, as `evaluate.Metric` classes of our own.

They need no network and leave no file.

`evaluate.load` fetches a metric's code from the hub; these are computed here by scikit-learn, SciPy and sacrebleu.
Importing this module imports `evaluate`, which takes seconds: names alone are in `prune_heads.tasks.spec`.
"""

import math
import tempfile
import warnings
from collections.abc import Mapping
from types import MappingProxyType

import datasets
import evaluate
import numpy as np
import scipy.stats
from numpy.typing import ArrayLike
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from prune_heads.errors import NotFiniteError, TaskError
from prune_heads.tasks.bleu import N_COUNTS, corpus_bleu
from prune_heads.tasks.spec import METRIC_NAMES, REGRESSION_METRICS, TEXT_METRIC, TRANSLATION_METRIC
from prune_heads.tasks.spec import headline as headline


class _Metric(evaluate.Metric):
    """What the metrics share: pairs of numbers in, a description taken from the docstring.

    The format is not "numpy": that would round float64 to float32 on the way.
    """

    value = "int64"

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value(self.value)
        return evaluate.MetricInfo(
            description=self.__doc__ or "",
            citation="https://arxiv.org/abs/1804.07461",
            inputs_description="predictions and references, one number an example",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )


class Accuracy(_Metric):
    """Fraction of examples whose label is right (SST-2, MNLI, QNLI, RTE, WNLI)."""

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class F1(_Metric):
    """F1 of label 1, and accuracy (MRPC, QQP); F1 is 0 where label 1 is neither predicted nor there."""

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        f1 = f1_score(references, predictions, pos_label=1, zero_division=0.0)
        return {"f1": float(f1), "accuracy": float(accuracy_score(references, predictions))}


class MatthewsCorrelation(_Metric):
    """Matthews correlation (CoLA); 0 where the predictions or the labels are all alike."""

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        if np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return {"matthews_correlation": 0.0}
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class Pearson(_Metric):
    """Pearson and Spearman correlation (STS-B).

    Where the predictions or the scores are all alike, both are undefined; 0 is given then, for no relation is
    shown. A model whose heads are all pruned predicts a constant, so the ends of curves depend on this.
    """

    value = "float64"

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        if np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return {"pearson": 0.0, "spearmanr": 0.0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
            pearson = scipy.stats.pearsonr(predictions, references).statistic
        spearman = scipy.stats.spearmanr(predictions, references).statistic
        return {"pearson": float(pearson), "spearmanr": float(spearman)}


class LogLikelihood(_Metric):
    """Log-likelihood in nats a predicted token, over all texts together, and perplexity (language models).

    A prediction is the sum of an example's log-likelihoods, its reference the number of tokens that were predicted.
    """

    value = "float64"

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        value = math.fsum(predictions) / math.fsum(references)
        try:
            return {"log_likelihood": value, "perplexity": math.exp(-value)}
        except OverflowError:
            raise NotFiniteError(
                f"perplexity must be finite; got a log-likelihood of {value:.4g} nats a token. Try --dtype float32, "
                "and check that the tokenizer is the model's own"
            ) from None


class Bleu(_Metric):
    """Corpus BLEU by sacrebleu, as a share (translations).

    A prediction is the `bleu_counts` of a translation, which are of its reference too, so that references are not used.
    """

    value = "float64"

    def _info(self) -> evaluate.MetricInfo:
        info = super()._info()
        info.features["predictions"] = datasets.List(datasets.Value(self.value), length=N_COUNTS)
        return info

    def _compute(self, predictions: list[list[float]], references: list[float]) -> dict[str, float]:
        return {"bleu": corpus_bleu(predictions)}


METRICS: Mapping[str, type[evaluate.Metric]] = MappingProxyType(
    {
        "accuracy": Accuracy,
        "f1": F1,
        "matthews_correlation": MatthewsCorrelation,
        "pearson": Pearson,
        TEXT_METRIC: LogLikelihood,
        TRANSLATION_METRIC: Bleu,
    }
)
"""Metric -> its class; `METRIC_NAMES` in `spec` says what each gives."""


def compute_metrics(metric: str, predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """Score predictions against the true labels.

    Args:
        metric: Key of `METRICS`.
        predictions: One label index, one score, or one log-likelihood, an example; `bleu_counts` for BLEU.
        references: The same for the true labels; for a log-likelihood, and for BLEU, the number of tokens.

    Returns:
        The values of `METRIC_NAMES[metric]`, in this order.

    Raises:
        TaskError: The metric is unknown.
        NotFiniteError: A prediction or a reference is NaN or infinite.
        ValueError: The lengths differ, or there is no example.
    """
    if metric not in METRICS:
        raise TaskError(f"the metric must be one of {', '.join(METRICS)}, got {metric!r}")
    kind = np.float64 if metric in (*REGRESSION_METRICS, TEXT_METRIC, TRANSLATION_METRIC) else np.int64
    predicted, true = _vector("predictions", predictions), _vector("references", references)
    if len(predicted) != len(true) or len(true) == 0:
        raise ValueError(
            f"predictions and references must be as many, and some, got {len(predicted)} and {len(true)}"
        )
    predicted, true = (vector.astype(kind, casting="same_kind") for vector in (predicted, true))
    # evaluate makes its folder even when it keeps everything in memory: let it be one that goes away.
    with tempfile.TemporaryDirectory() as folder:
        values = METRICS[metric](cache_dir=folder, keep_in_memory=True).compute(
            predictions=predicted, references=true
        )
    return {name: values[name] for name in METRIC_NAMES[metric]}


def _vector(name: str, values: ArrayLike) -> np.ndarray:
    vector = np.asarray(values)
    n_bad = vector.size - int(np.isfinite(vector).sum())
    if n_bad:
        raise NotFiniteError(f"{name} must be finite, got NaN or infinity in {n_bad} of {vector.size}")
    return vector
