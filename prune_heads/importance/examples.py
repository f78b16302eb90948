"""What a criterion is given: a model, and examples to look at."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from prune_heads.batching import Batches
from prune_heads.heads import HeadMask
from prune_heads.importance.gradient import GateGradients, gate_gradients
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
        """The examples as the model takes them: an iterable of `Batch` with `index`, `inputs` and `labels`."""
        return self.predictions.batches

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
