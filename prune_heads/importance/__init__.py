"""How important is each head? `CRITERIA` is the table; higher = more important, for every criterion."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from prune_heads.anatomy import attention_blocks
from prune_heads.batching import Batches
from prune_heads.heads import HeadScores
from prune_heads.importance.baselines import magnitude_scores, random_scores
from prune_heads.importance.estimators import ESTIMATORS
from prune_heads.importance.gradient import GateGradients, gate_gradients
from prune_heads.importance.normalize import NORMALIZERS
from prune_heads.progress import Progress, silent

__all__ = [
    "CRITERIA",
    "ESTIMATORS",
    "NORMALIZERS",
    "Criterion",
    "GateGradients",
    "Question",
    "Scored",
    "gate_gradients",
]


@dataclass(frozen=True)
class Question:
    """All that a criterion may look at."""

    model: nn.Module
    batches: Batches | None = None
    """The examples to score on; None for a criterion that needs none."""
    estimator: str = "example"
    """Key of `ESTIMATORS`."""
    batch_size: int = 32
    """Of the estimator `batch`, the only one that depends on it."""
    seed: int = 0
    progress: Progress = silent


class Scored(NamedTuple):
    """A criterion's answer."""

    scores: HeadScores
    """Not normalised."""
    gradients: GateGradients | None = None
    """The matrix that the scores and their standard errors come from."""


class Criterion(NamedTuple):
    """One row of the table."""

    score: Callable[[Question], Scored]
    needs_data: bool
    summary: str


def _gradient(question: Question) -> Scored:
    if question.batches is None:
        raise ValueError("the gradient criterion must be given examples")
    gradients = gate_gradients(question.model, question.batches, progress=question.progress)
    return Scored(ESTIMATORS[question.estimator].score(gradients, question.batch_size), gradients)


def _magnitude(question: Question) -> Scored:
    return Scored(magnitude_scores(attention_blocks(question.model)))


def _random(question: Question) -> Scored:
    return Scored(random_scores([block.n_heads for block in attention_blocks(question.model)], question.seed))


CRITERIA: Mapping[str, Criterion] = {
    "gradient": Criterion(
        _gradient, True, "derivative of the loss by each head's gate (Michel et al., 2019)"
    ),
    "magnitude": Criterion(_magnitude, False, "l2 norm of the head's weights"),
    "random": Criterion(_random, False, "uniform numbers from a seed"),
}
"""`--criterion` -> how a model's heads are scored."""
