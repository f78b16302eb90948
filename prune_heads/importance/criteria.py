"""Criteria: what one is given, and the table of ours."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pkgutil import resolve_name
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prune_heads.ablation import ablations, predict_masks
from prune_heads.anatomy import attention_blocks, gone_from
from prune_heads.descriptors import Head
from prune_heads.errors import UnfitError
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.gradient import ESTIMATORS, GateGradients, gate_gradients, standard_error
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import Batches
from prune_heads.options.scoring import ROWS
from prune_heads.predictions import Predictions
from prune_heads.surgery import removed_heads, zero_heads

T = TypeVar("T")
LooksAt = Literal[
    "weights", "gradients", "derivatives", "answers", "nothing", "examples", "attention", "masks", "updates"
]


@dataclass(frozen=True)
class Examples:
    """All that a criterion may look at: a model, and examples that heads are scored on."""

    whole: nn.Module  # the model as it is
    given: Predictions | None = None  # its predictions on the examples; None for a criterion that needs none
    masked: HeadMask | None = None  # heads that count as gone: a criterion scores the others as they are without
    estimator: str = "example"  # key of `ESTIMATORS`
    seed: int = 0
    differentiate: Callable[[Predictions, HeadMask | None], GateGradients] | None = None
    """Gives the gradients of the examples where others compute them; None: they are computed here."""
    response: str = "metric"  # what `ablation` scores by; or `likelihood`, the response of the objective
    masks: int = 2000  # what a criterion that measures masks may measure, at most
    updates: int = 500  # steps of a criterion that learns gates
    spent: dict[Hashable, tuple[float, float]] = field(default_factory=dict)
    """What the scores took: what was done -> passes over the examples, forward and backward. Work that is shared, or
    that the store has, counts as if it were done."""
    kept: dict[Hashable, Any] = field(default_factory=dict)
    """What was computed of this model on these examples, which several criteria share; see `once`."""

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

    def spend(self, what: Hashable, forward: float, backward: float = 0) -> None:
        """Count passes over the examples; the same thing is counted once."""
        self.spent[what] = (forward, backward)

    def once(self, what: Hashable, compute: Callable[[], T]) -> T:
        """What was computed under this name before, with the same heads masked; or computes it."""
        key = (what, self.masked)
        if key not in self.kept:
            self.kept[key] = compute()
        return self.kept[key]

    @property
    def columns(self) -> NDArray[np.bool_]:
        """Which heads of the model as it is now, block after block, are `there`: not masked."""
        return np.array([head not in self.gone for head in ~removed_heads(self.whole)], dtype=bool)

    def mean(self, values: NDArray[np.float64]) -> HeadScores:
        """Means over the examples with their standard errors, of `(n_examples, heads of the model now)`."""
        values = values[:, self.columns]
        return HeadScores.of_the_rest(values.mean(axis=0), self.gone, standard_error(values))

    @property
    def there(self) -> list[Head]:
        """The heads that are left, in order: what scores are of, and columns of masks."""
        return list(~self.gone)

    def masks_of(self, closed: NDArray[np.bool_]) -> list[HeadMask]:
        """The mask of each row of `(n_masks, n_there)`, True for heads of `there` that are masked."""
        there, gone = self.there, self.gone
        return [HeadMask(gone.n_heads, frozenset(there[i] for i in np.flatnonzero(row))) | gone for row in closed]

    def responses(self, masks: Sequence[HeadMask]) -> NDArray[np.float64]:
        """`(n_examples, n_masks)`: the objective's response of each example, higher is better; from the store if there.

        An `UnfitError` where the objective has none.
        """
        predictions = self.predictions
        found = predict_masks(predictions, masks)
        for mask in masks:
            self.spend(mask, 1)
        of = (predictions.objective.responses(found[m | predictions.gone], predictions.references) for m in masks)
        if (columns := [each for each in of if each is not None]) and len(columns) == len(masks):
            return np.stack(columns, axis=1).astype(np.float64)
        must = f"the {predictions.objective.response.name} must be defined to score by it"
        raise UnfitError(f"{must}; {predictions.objective.name} has none. Take --response metric, or the gradient")

    @property
    def gradients(self) -> GateGradients:
        """Derivatives of each example's loss by the gates; computed once, when they are first asked for."""
        self.spend("gradients", 1, 1)
        return self._differentiated

    @cached_property
    def _differentiated(self) -> GateGradients:
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

    score: Callable[[Examples], HeadScores]  # not normalised; higher = more important
    looks_at: LooksAt
    """Weights and nothing need no data. Gradients have estimators, unlike other derivatives; `masks` are a budget and
    `updates` another one."""
    summary: str
    name: str = ""  # of one's own, as records name it: without the path that led to it
    source: str | None = None  # of one's own: SHA-256 of its source, where that is known
    draws: bool = False  # whether the scores may depend on the seed
    formula: str = ""
    paper: str = ""  # where it comes from
    cost: str = ""  # passes over the scoring examples, of N heads
    has_error: bool = False  # whether scores come with a standard error
    is_signed: bool | None = False  # whether below 0 the model is better without; None: where a score is below 0

    @property
    def needs_data(self) -> bool:
        """Whether heads are scored on examples."""
        return self.looks_at not in ("weights", "nothing")


def gradient(examples: Examples) -> HeadScores:
    """The estimator of the gate gradients that is asked for."""
    size = examples.predictions.subject.batch_size
    scores = ESTIMATORS[examples.estimator].score(examples.gradients, size)
    return replace(scores, gone=scores.gone | examples.gone)


def ablation(examples: Examples) -> HeadScores:
    """The headline metric minus the metric without the head, for each head that is left (paper, sections 3.2 and 4.1).

    Or the same of the objective's mean response (`Objective.response`), where `likelihood` is asked for. The standard
    error is that of the mean of the paired differences of the examples, of a metric that is a mean, such as accuracy;
    other metrics have none. What the store knows is not computed again.

    An `UnfitError` where that is not defined.
    """
    predictions = examples.predictions
    masks = asked_masks(predictions, examples.masked)
    if examples.response == "likelihood":
        of = examples.responses(masks)
        lost = of[:, :1] - of[:, 1:]
        return HeadScores.of_the_rest(lost.mean(axis=0), masks[0], standard_error(lost))
    found = predict_masks(predictions, masks)
    for mask in masks:
        examples.spend(mask, 1)
    base, *without = (predictions.metric_of(found[mask]) for mask in masks)
    errors, each = None, predictions.measure.each
    if each is not None:
        of = np.stack([each(predictions.answers(found[m]), predictions.references) for m in masks], axis=1)
        errors = standard_error(of[:, :1].astype(float) - of[:, 1:])
    return HeadScores.of_the_rest(np.subtract(base, without), masks[0], errors)


def asked_masks(predictions: Predictions, masked: HeadMask | None = None) -> list[HeadMask]:
    """The masks under which `ablation` needs predictions: of no head more, and of each head that is left."""
    start = predictions.gone if masked is None else predictions.gone | masked
    return [start, *ablations("without-one", start).values()]


@torch.no_grad()
def magnitude(examples: Examples) -> HeadScores:
    """The l2 norm of each head's weights: its rows of W_Q, W_K, W_V and its columns of W_O, no biases.

    Keys and values that several heads share are counted for each of them.
    """
    blocks, norms = attention_blocks(examples.whole), []
    for block, i in ((each, i) for each in blocks for i in range(each.n_heads)):
        group = i * block.n_kv_heads // block.n_heads
        own = [block.output.weight[:, block.output.dimensions([i])]]
        own += [p.weight[p.dimensions([j])] for p, j in ((block.query, i), (block.key, group), (block.value, group))]
        norms.append(float(sum(weight.double().square().sum() for weight in own)) ** 0.5)
    return HeadScores.of_the_rest(norms, gone_from(blocks))


def random(examples: Examples) -> HeadScores:
    """Uniform numbers from [0, 1) for the heads that are there, a pure function of the seed."""
    gone = removed_heads(examples.whole)
    return HeadScores.of_the_rest(np.random.default_rng(examples.seed).random(len(~gone)), gone)


def _row(at: str, **about: Any) -> Criterion:
    """A row of the table; its module is imported when heads are scored."""
    return Criterion(lambda examples: resolve_name(f"{__package__}.{at}")(examples), **about)


CRITERIA: Mapping[str, Criterion] = {name: _row(**row) for name, row in ROWS.items()}
"""`--criterion` -> how a model's heads are scored."""
