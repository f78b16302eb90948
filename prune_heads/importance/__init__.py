"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion.

A criterion of one's own is a function `(Examples) -> HeadScores`.
"""

from collections.abc import Mapping
from dataclasses import replace

from prune_heads.anatomy import attention_blocks
from prune_heads.errors import CriterionError
from prune_heads.heads import HeadScores
from prune_heads.importance.baselines import magnitude_scores, random_scores
from prune_heads.importance.criterion import Criterion, Examples, model_without
from prune_heads.importance.differences import asked_masks, difference_scores
from prune_heads.importance.estimators import ESTIMATORS, running_sum
from prune_heads.importance.gradient import (
    BatchRows,
    GateGradients,
    batch_rows,
    gate_gradients,
    in_file_order,
)
from prune_heads.importance.normalize import NORMALIZERS
from prune_heads.importance.own import named_criterion, own_criterion
from prune_heads.surgery import removed_heads

__all__ = [
    "CRITERIA",
    "ESTIMATORS",
    "NORMALIZERS",
    "BatchRows",
    "Criterion",
    "Examples",
    "GateGradients",
    "asked_masks",
    "batch_rows",
    "criterion_of",
    "gate_gradients",
    "in_file_order",
    "model_without",
    "own_criterion",
    "running_sum",
]


def _gradient(examples: Examples) -> HeadScores:
    size = examples.predictions.subject.batch_size
    scores = ESTIMATORS[examples.estimator].score(examples.gradients, size)
    return replace(scores, gone=scores.gone | examples.gone)


def _ablation(examples: Examples) -> HeadScores:
    return difference_scores(examples.predictions, examples.masked)


def _magnitude(examples: Examples) -> HeadScores:
    return magnitude_scores(attention_blocks(examples.whole))


def _random(examples: Examples) -> HeadScores:
    gone = removed_heads(examples.whole)
    return HeadScores.of_the_rest(random_scores([len(~gone)], examples.seed).flat(), gone)


CRITERIA: Mapping[str, Criterion] = {
    "gradient": Criterion(
        _gradient, "gradients", "derivative of the loss by each head's gate (Michel et al., 2019)"
    ),
    "ablation": Criterion(_ablation, "answers", "what the metric loses when the head alone is masked"),
    "magnitude": Criterion(_magnitude, "weights", "l2 norm of the head's weights"),
    "random": Criterion(_random, "nothing", "uniform numbers from a seed"),
}
"""`--criterion` -> how a model's heads are scored."""


def criterion_of(name: str) -> Criterion:
    """A row of `CRITERIA`, or one's own by `my_module:function` or `file.py:function`.

    Raises:
        CriterionError: If there is none, or it cannot be imported.
    """
    if name in CRITERIA:
        return CRITERIA[name]
    if ":" not in name:
        raise CriterionError(
            f"the criterion must be one of {', '.join(CRITERIA)}, or one's own as my_module:function or "
            f"file.py:function; got {name!r}"
        )
    return named_criterion(name)
