"""The metrics as `evaluate.Metric` classes, for those who load them so; the numbers are those of `statistics.metrics`.

They need no network. Importing this module imports `evaluate`, which takes seconds.
"""

from collections.abc import Mapping
from typing import Any

import datasets
import evaluate
import numpy as np

from prune_heads.objectives import METRIC_NAMES, table_of
from prune_heads.statistics import metrics


def _class_of(metric: str, about: str, value: str) -> type[evaluate.Metric]:
    """The format is not "numpy": that would round float64 to float32 on the way."""
    number = datasets.Value(value)
    predicted = datasets.List(number, length=metrics.N_COUNTS) if metric == "bleu" else number

    def _info(self: evaluate.Metric) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=about,
            citation="https://arxiv.org/abs/1804.07461",
            inputs_description="predictions and references, one an example",
            features=datasets.Features({"predictions": predicted, "references": number}),
        )

    def _compute(self: evaluate.Metric, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        made, true = np.asarray(predictions), np.asarray(references)
        return {name: metrics.METRICS[name](made, true) for name in METRIC_NAMES[metric]}

    return type(metric, (evaluate.Metric,), {"__doc__": about, "_info": _info, "_compute": _compute})


METRICS: Mapping[str, type[evaluate.Metric]] = {k: _class_of(k, **row) for k, row in table_of("metrics.toml").items()}
"""Metric -> its class; `METRIC_NAMES` says what each gives."""
