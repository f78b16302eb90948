"""The metrics as `evaluate.Metric` classes, for those who load them so; the numbers are those of `statistics.metrics`.

They need no network. Importing this module imports `evaluate`, which takes seconds.
"""

from collections.abc import Mapping
from typing import Any

import datasets
import evaluate
import numpy as np

from prune_heads.objectives import METRIC_NAMES
from prune_heads.statistics import metrics

_ABOUT = {
    "accuracy": "Fraction of examples whose label is right (SST-2, MNLI, QNLI, RTE, WNLI).",
    "f1": "F1 of label 1, and accuracy (MRPC, QQP); F1 is 0 where label 1 is neither predicted nor there.",
    "matthews_correlation": "Matthews correlation (CoLA); 0 where the predictions or the labels are all alike.",
    "pearson": "Pearson and Spearman correlation (STS-B); 0 where the predictions or the scores are all alike.",
    "log_likelihood": "Log-likelihood in nats a predicted token, and perplexity. A prediction is the sum of an "
    "example's log-likelihoods, its reference the number of tokens that were predicted.",
    "bleu": "Corpus BLEU as a share. A prediction is the `bleu_counts` of a translation, which are of its "
    "reference too: references are not used.",
}


def _class_of(metric: str, about: str) -> type[evaluate.Metric]:
    """The format is not "numpy": that would round float64 to float32 on the way."""
    is_score = metric in ("pearson", "log_likelihood", "bleu")
    value = datasets.Value("float64" if is_score else "int64")
    predicted = datasets.List(value, length=metrics.N_COUNTS) if metric == "bleu" else value

    def _info(self: evaluate.Metric) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=about,
            citation="https://arxiv.org/abs/1804.07461",
            inputs_description="predictions and references, one an example",
            features=datasets.Features({"predictions": predicted, "references": value}),
        )

    def _compute(self: evaluate.Metric, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        made, true = np.asarray(predictions), np.asarray(references)
        return {name: metrics.METRICS[name](made, true) for name in METRIC_NAMES[metric]}

    return type(metric, (evaluate.Metric,), {"__doc__": about, "_info": _info, "_compute": _compute})


METRICS: Mapping[str, type[evaluate.Metric]] = {metric: _class_of(metric, about) for metric, about in _ABOUT.items()}
"""Metric -> its class; `METRIC_NAMES` says what each gives."""
