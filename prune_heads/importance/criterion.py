"""A criterion, and what it is given: a model, and examples to look at."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from torch import nn

from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.gradient import GateGradients, gate_gradients
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import Batches
from prune_heads.predictions import Predictions
from prune_heads.surgery import removed_heads, zero_heads


@dataclass(frozen=True)
class Examples:
    """All that a criterion may look at: a model, and examples that heads are scored on."""

    whole: nn.Module
    """The model as it is."""
    given: Predictions | None = None
    """Its predictions on the examples; None for a criterion that needs none."""
    masked: HeadMask | None = None
    """Heads that count as gone: a criterion scores the others as they are without."""
    estimator: str = "example"
    """Key of `ESTIMATORS`."""
    seed: int = 0
    differentiate: Callable[[Predictions, HeadMask | None], GateGradients] | None = None
    """Gives the gradients of the examples where others compute them; None: they are computed here."""

    @cached_property
    def model(self) -> nn.Module:
        """The model; where heads are masked, a copy that lacks them."""
        return model_without(self.whole, self.masked)

    @property
    def gone(self) -> HeadMask:
        """Heads that have been removed before, and those that are masked: their score is 0."""
        gone = removed_heads(self.whole)
        return gone if self.masked is None else gone | self.masked

    @property
    def predictions(self) -> Predictions:
        """What the model answers on the examples under any mask, `predictions.of(mask)`, beside the heads in `gone`."""
        if self.given is None:
            raise ValueError("a criterion that looks at data must be given examples")
        return self.given

    @property
    def batches(self) -> Batches:
        """The examples as the model takes them: an iterable of `Batch` with `index`, `inputs` and `targets`."""
        return self.predictions.batches

    @property
    def objective(self) -> Objective:
        """What is predicted: losses, what is kept of an example, and metrics."""
        return self.batches.objective

    @cached_property
    def gradients(self) -> GateGradients:
        """Derivatives of each example's loss by the gates; computed once, when they are first asked for."""
        examples = self.predictions
        if self.differentiate is not None:
            return self.differentiate(examples, self.masked)
        with examples.reporter.stage("scoring", self.batches.n_examples) as progress:
            return gate_gradients(self.model, self.batches, progress=progress)


def model_without(model: nn.Module, masked: HeadMask | None) -> nn.Module:
    """The model, or where heads are masked a copy that lacks them."""
    return zero_heads(deepcopy(model), masked) if masked else model


class Criterion(NamedTuple):
    """How heads are scored."""

    score: Callable[[Examples], HeadScores]
    """Not normalised; higher = more important."""
    looks_at: Literal["weights", "gradients", "answers", "nothing", "examples"]
    """Gradients, answers and examples need data; gradients have estimators, answers a metric."""
    summary: str
    name: str = ""
    """Of one's own, as records name it: without the path that led to it."""
    source: str | None = None
    """Of one's own: SHA-256 of its source, where that is known."""

    @property
    def needs_data(self) -> bool:
        """Whether heads are scored on examples."""
        return self.looks_at in ("gradients", "answers", "examples")

    @property
    def draws(self) -> bool:
        """Whether the scores may depend on the seed."""
        return self.looks_at in ("nothing", "examples")
