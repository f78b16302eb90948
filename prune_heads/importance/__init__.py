"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from torch import nn

from prune_heads.anatomy import attention_blocks
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.baselines import magnitude_scores, random_scores
from prune_heads.importance.differences import asked_masks, difference_scores
from prune_heads.importance.estimators import ESTIMATORS
from prune_heads.importance.gradient import (
    BatchRows,
    GateGradients,
    batch_rows,
    gate_gradients,
    in_file_order,
)
from prune_heads.importance.normalize import NORMALIZERS
from prune_heads.importance.running_sum import running_sum
from prune_heads.predictions import Predictions
from prune_heads.surgery import removed_heads, zero_heads

__all__ = [
    "CRITERIA",
    "ESTIMATORS",
    "NORMALIZERS",
    "BatchRows",
    "Criterion",
    "GateGradients",
    "Question",
    "Scored",
    "asked_masks",
    "batch_rows",
    "gate_gradients",
    "in_file_order",
    "model_without",
    "running_sum",
]


@dataclass(frozen=True)
class Question:
    """All that a criterion may look at."""

    model: nn.Module
    predictions: Predictions | None = None
    """Of the model on the examples to score on; None for a criterion that needs none."""
    masked: HeadMask | None = None
    """Heads that count as gone: a criterion that looks at data scores them 0, and the others as they are without."""
    estimator: str = "example"
    """Key of `ESTIMATORS`."""
    batch_size: int = 32
    """Of the estimator `batch`, the only one that depends on it."""
    seed: int = 0
    gradients: GateGradients | None = None
    """Of the examples, where they have been computed before."""

    @property
    def examples(self) -> Predictions:
        """The predictions, for a criterion that cannot do without."""
        if self.predictions is None:
            raise ValueError("a criterion that looks at data must be given examples")
        return self.predictions


class Scored(NamedTuple):
    """A criterion's answer."""

    scores: HeadScores
    """Not normalised."""
    gradients: GateGradients | None = None
    """The matrix that the scores and their standard errors come from."""


class Criterion(NamedTuple):
    """One row of the table."""

    score: Callable[[Question], Scored]
    looks_at: Literal["weights", "gradients", "answers", "nothing"]
    """Gradients and answers need examples; gradients have estimators, answers a metric."""
    summary: str

    @property
    def needs_data(self) -> bool:
        """Whether heads are scored on examples."""
        return self.looks_at in ("gradients", "answers")

    @property
    def draws(self) -> bool:
        """Whether the scores depend on the seed."""
        return self.looks_at == "nothing"


def model_without(model: nn.Module, masked: HeadMask | None) -> nn.Module:
    """The model, or where heads are masked a copy that lacks them."""
    return zero_heads(deepcopy(model), masked) if masked else model


def _gradient(question: Question) -> Scored:
    gradients = question.gradients
    if gradients is None:
        examples, model = question.examples, model_without(question.model, question.masked)
        with examples.reporter.stage("scoring", examples.batches.n_examples) as progress:
            gradients = gate_gradients(model, examples.batches, progress=progress)
    scores = ESTIMATORS[question.estimator].score(gradients, question.batch_size)
    return Scored(replace(scores, gone=scores.gone | (question.masked or scores.gone)), gradients)


def _ablation(question: Question) -> Scored:
    return Scored(difference_scores(question.examples, question.masked))


def _magnitude(question: Question) -> Scored:
    return Scored(magnitude_scores(attention_blocks(question.model)))


def _random(question: Question) -> Scored:
    gone = removed_heads(question.model)
    return Scored(HeadScores.of_the_rest(random_scores([len(~gone)], question.seed).flat(), gone))


CRITERIA: Mapping[str, Criterion] = {
    "gradient": Criterion(
        _gradient, "gradients", "derivative of the loss by each head's gate (Michel et al., 2019)"
    ),
    "ablation": Criterion(_ablation, "answers", "what the metric loses when the head alone is masked"),
    "magnitude": Criterion(_magnitude, "weights", "l2 norm of the head's weights"),
    "random": Criterion(_random, "nothing", "uniform numbers from a seed"),
}
"""`--criterion` -> how a model's heads are scored."""
