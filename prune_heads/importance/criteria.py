"""Criteria: what one is given, the table of ours, and one of one's own, a function `(Examples) -> scores`."""

import hashlib
import inspect
import sys
import tomllib
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial, reduce
from importlib import import_module, resources
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.ablation import ablations, predict_masks
from prune_heads.anatomy import attention_blocks, gone_from
from prune_heads.descriptors import Head
from prune_heads.errors import CriterionError, PruneHeadsError, UnfitError, first_line
from prune_heads.files import read_bytes
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.gradient import ESTIMATORS, GateGradients, gate_gradients, standard_error
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import Batches
from prune_heads.predictions import Predictions
from prune_heads.surgery import removed_heads, zero_heads

_source = partial(read_bytes, what="a criterion's file", error=CriterionError)


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
        must = f"the {predictions.objective.response.name} must be defined for what is asked of it"
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
    looks_at: Literal["weights", "gradients", "answers", "nothing", "examples", "attention", "masks", "updates"]
    """Weights and nothing need no data. Gradients have estimators, `masks` are a budget and `updates` another one."""
    summary: str
    name: str = ""  # of one's own, as records name it: without the path that led to it
    source: str | None = None  # of one's own: SHA-256 of its source, where that is known
    draws: bool = False  # whether the scores may depend on the seed
    formula: str = ""
    paper: str = ""  # where it comes from
    cost: str = ""  # passes over the scoring examples

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
        before, *after = examples.responses(masks).T
        lost = np.stack([before - each for each in after], axis=1)
        return HeadScores.of_the_rest(lost.mean(axis=0), masks[0], standard_error(lost))
    found = predict_masks(predictions, masks)
    for mask in masks:
        examples.spend(mask, 1)
    base, *without = (predictions.metric_of(found[mask]) for mask in masks)
    errors, each = None, predictions.measure.each
    if each is not None:
        before, *after = (each(predictions.answers(found[m]), predictions.references) for m in masks)
        errors = standard_error(np.stack([before.astype(float) - one for one in after], axis=1))
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


CRITERIA: Mapping[str, Criterion] = {
    name: _row(**row)
    for name, row in tomllib.loads((resources.files(__package__) / "criteria.toml").read_text("utf-8")).items()
}
"""`--criterion` -> how a model's heads are scored."""


def criterion_of(name: str) -> Criterion:
    """A row of `CRITERIA`, or one's own by `my_module:function` or `path/to/file.py:function`, which is imported.

    Raises:
        CriterionError: If there is none, it cannot be imported, or is no function.
    """
    if name in CRITERIA:
        return CRITERIA[name]
    where, _, attribute = name.rpartition(":")
    if not where:
        own = "one's own as my_module:function or file.py:function"
        raise CriterionError(f"the criterion must be one of {', '.join(CRITERIA)}, or {own}; got {name!r}")
    file = Path(where).expanduser() if where.endswith(".py") else None
    shown = f"{file.name if file else where}:{attribute}"
    folder = str(file.resolve().parent if file else Path.cwd())  # as for a script that is run
    sys.path.insert(0, folder)
    try:
        module = _of_file(str(file.resolve()), _source(file)) if file else import_module(where)
        if not hasattr(module, attribute.split(".")[0]):
            there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            raise CriterionError(f"the criterion {shown} must be there; got the functions {', '.join(there) or 'none'}")
        function: Any = reduce(getattr, attribute.split("."), module)
        origin = getattr(module, "__file__", None)
        return own_criterion(function, shown, _source(Path(origin)) if origin else None)
    except CriterionError:
        raise
    except (Exception, SystemExit) as error:
        must = f"the criterion {shown} must be importable; got {type(error).__name__}: {first_line(error)}"
        raise CriterionError(f"{must}. Name it my_module:function or path/to/file.py:function") from error
    finally:
        sys.path.remove(folder)


@cache
def _of_file(file: str, source: bytes) -> ModuleType:
    """The file as a module; one of the same content is imported once."""
    module = ModuleType(f"own_{hashlib.sha256(source).hexdigest()[:16]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # where its dataclasses look for their names
    exec(compile(source, file, "exec"), vars(module))
    return module


def own_criterion(function: Callable[[Examples], Any], name: str = "", source: bytes | None = None) -> Criterion:
    """A row for a function of one's own.

    Args:
        function: Gives `HeadScores`, or one number a head in the original numbering: flat, or one row a block. Heads
            that are gone score 0.
        name: As records name it; of a function by itself, its module and name.
        source: What it was made from, where that is known already.

    Raises:
        CriterionError: If it cannot be called; from its row, if it fails or gives no scores of the heads.
    """
    if not callable(function):
        kind = type(function).__name__
        raise CriterionError(f"a criterion must be a function of examples; {name or 'this one'} is of type {kind}")
    named = function if inspect.isroutine(function) else type(function)
    name = name or f"{named.__module__}:{named.__qualname__}"
    if source is None:
        with suppress(OSError, TypeError):  # typed into an interpreter
            source = inspect.getsource(named).encode()

    def score(examples: Examples) -> HeadScores:
        try:
            return _fitted(function(examples), examples.gone, name)
        except PruneHeadsError:
            raise
        except Exception as error:
            why = f"it failed with {type(error).__name__}: {first_line(error)}"
            raise CriterionError(f"the criterion {name} must give the scores of the heads; {why}") from error

    summary = (inspect.getdoc(function) or "a criterion of one's own").partition("\n")[0]
    known = hashlib.sha256(source).hexdigest() if source else None
    return Criterion(score, "examples", summary, name, known, draws=True)


def _fitted(found: Any, gone: HeadMask, name: str) -> HeadScores:
    """What a function gave as scores, heads that are gone at 0."""
    shape = list(gone.n_heads)
    if not isinstance(found, HeadScores):
        values = found.detach().cpu().numpy() if isinstance(found, Tensor) else found
        rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in values]
        if [len(row) for row in rows] != shape and sum(map(len, rows)) == sum(shape):  # flat
            rows = np.split(np.concatenate(rows), np.cumsum(shape)[:-1])
        found = HeadScores(tuple(rows))
    if list(found.n_heads) != shape:
        must = f"the criterion {name} must give a score for each head, {sum(shape)} of them, {shape} a block"
        raise CriterionError(f"{must}; got {sum(found.n_heads)}")
    gone |= found.gone
    there = np.concatenate([*gone.keep(), np.zeros(0, dtype=bool)])
    errors = None if found.standard_error is None else np.concatenate(found.standard_error)[there]
    scores = HeadScores.of_the_rest(found.flat()[there], gone, errors)
    if bad := [head for head in ~gone if not np.isfinite(scores.values[head[0]][head[1]])]:
        first = HeadMask(gone.n_heads, frozenset(bad[:1]))
        raise CriterionError(f"the criterion {name} must give finite scores; that of head {first} is not")
    return scores
