"""Gate, zero and remove, tried on tiny models of a type: what is exact, what is refused and why, and what is wrong.

The truth is the same model with the columns of W_O that the heads own zeroed by hand.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prune_heads.anatomy import attention_blocks
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.coverage.cases import Case
from prune_heads.coverage.mixing import mixers
from prune_heads.errors import PruneHeadsError, UnsupportedModelError, first_line
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.surgery import remove_heads, zero_heads

TOLERANCE = 1e-5
"""How far logits may be apart, in float32, of the largest logit or of 1."""
Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """What a case showed."""

    logits: Tensor
    """Of the model as it is."""
    refused: dict[str, str] = field(default_factory=dict)
    """`gate`, `zero`, `remove` -> why the package does not do it; a type that is refused whole refuses all three."""
    faults: dict[str, str] = field(default_factory=dict)
    """The same for what it does and should not: a wrong result or an error that is none of its own."""
    mixers: tuple[str, ...] = ()
    """Where tokens see each other beside the heads."""


def try_case(case: Case) -> Outcome | None:
    """Try a case; None where transformers itself cannot build or run its model."""
    with quiet_transformers():
        try:
            model = case.model()
            inputs = case.inputs(model)
            plain = logits_of(model, inputs)
            if not torch.equal(logits_of(model, inputs), plain):  # or it fails: some rotary positions did
                return None
        except Exception:  # whatever a model class raises on what it does not take
            return None
        if not torch.isfinite(plain).all():
            return None
        try:
            mask = case.mask(attention_blocks(model))
        except UnsupportedModelError as error:
            return Outcome(plain, dict.fromkeys(("gate", "zero", "remove"), _shortly(error)))
        found = Outcome(plain, mixers=tuple(mixers(model, inputs) or ()))
        if not torch.equal(_gate(model, inputs, HeadMask(mask.n_heads)), plain):
            found.faults["gate"] = "gates of 1 change the logits"
        truth = logits_of(_zeroed_by_hand(model, mask), inputs)
        if _near(truth, plain):
            found.faults["gate"] = "these heads change nothing"
        for name, way in {"gate": _gate, "zero": _zero, "remove": _remove}.items():
            _judge(found, name, partial(way, model, inputs, mask), truth)
    return found


def _judge(found: Outcome, name: str, result: Callable[[], Tensor], truth: Tensor) -> None:
    try:
        if not _near(result(), truth):
            found.faults[name] = f"{name} is not as zeroed columns of W_O"
    except PruneHeadsError as error:
        found.refused[name] = _shortly(error)
    except Exception as error:  # a forward that does not take its new shapes raises whatever it stumbles over
        found.faults[name] = f"{type(error).__name__}: {first_line(error)}"


def _gate(model: nn.Module, inputs: Inputs, mask: HeadMask) -> Tensor:
    with gated(model, gates_of(model, mask)):
        return logits_of(model, inputs)


def _zero(model: nn.Module, inputs: Inputs, mask: HeadMask) -> Tensor:
    return logits_of(zero_heads(copy.deepcopy(model), mask), inputs)


def _remove(model: nn.Module, inputs: Inputs, mask: HeadMask) -> Tensor:
    return logits_of(remove_heads(copy.deepcopy(model), mask), inputs)


@torch.no_grad()
def _zeroed_by_hand(model: PreTrainedModel, mask: HeadMask) -> PreTrainedModel:
    model = copy.deepcopy(model)
    for block, heads in zip(attention_blocks(model), mask.by_block(), strict=True):
        block.output.weight[:, block.output.dimensions(heads)] = 0
    return model


@torch.no_grad()
def logits_of(model: nn.Module, inputs: Inputs) -> Tensor:
    """Of a pass whose random choices are the same each time: some types draw which tokens attend, or hash them."""
    torch.manual_seed(0)
    logits: Tensor = model(**inputs).logits
    return logits


def _near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE * max(1.0, float(b.abs().max())))


def _shortly(error: Exception) -> str:
    return first_line(error).rsplit(": ", 1)[-1]
