"""Gate, zero and remove, tried on a tiny model of a type: what is exact, what is not, and why."""

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as SEQUENCE_CLASSIFIERS,
)

from prune_heads.anatomy import FAMILIES, UNKNOWN, AttentionBlock, attention_blocks, head_counts
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.coverage.tiny import tiny_inputs, tiny_model
from prune_heads.errors import PruneHeadsError, first_line
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.surgery import remove_heads, zero_heads

TOLERANCE = 1e-5
"""How far logits may be apart, in float32, of the largest logit or of 1."""


@dataclass(frozen=True)
class Coverage:
    """What holds for a model type."""

    type: str
    gate: bool = False
    zero: bool = False
    remove: bool = False
    reason: str = ""
    """Why something does not hold."""

    def to_json(self) -> dict[str, Any]:
        """The row: type, gate, zero, remove, reason."""
        return asdict(self)


def try_all(types: Iterable[str] = tuple(SEQUENCE_CLASSIFIERS)) -> dict[str, Any]:
    """The table for the installed transformers: every type with a sequence classifier, or some, tried."""
    with quiet_transformers():
        rows = [try_type(model_type).to_json() for model_type in sorted(types)]
    return {"transformers": version("transformers"), "models": rows}


def try_type(model_type: str) -> Coverage:
    """Try a type: a gate of 0 must change the logits and equal zeroed columns of W_O, zeroed heads, removed heads."""
    if model_type not in FAMILIES:
        return Coverage(model_type, reason=UNKNOWN.get(model_type, "it is not in the table"))
    try:
        model, inputs = tiny_model(model_type), tiny_inputs()
        blocks, plain = attention_blocks(model), _logits(model, inputs)
    except (
        Exception
    ) as error:  # whatever a model class raises on a configuration or inputs that it does not take
        return Coverage(model_type, reason=f"{type(error).__name__}: {first_line(error)}")
    if not torch.isfinite(plain).all():
        return Coverage(model_type, reason="the tiny model's logits are not finite")
    masks = [_one_group_each(blocks), *_alone(blocks)]
    found, reasons = {}, []
    for name, holds in (("gate", _gate_holds), ("zero", _zero_holds), ("remove", _remove_holds)):
        reason = next(filter(None, (_try(holds, model, inputs, mask) for mask in masks)), "")
        found[name] = not reason
        if reason and reason not in reasons:
            reasons.append(reason)
        if name == "gate" and reason:
            return Coverage(model_type, reason=reason)
    return Coverage(model_type, **found, reason="; ".join(reasons))


def _alone(blocks: list[AttentionBlock]) -> list[HeadMask]:
    """One group of heads at a time, in the first and the last layer of every kind of block."""
    n_heads = head_counts(blocks)
    kinds: dict[str, list[int]] = {}
    for i, block in enumerate(blocks):
        kinds.setdefault(block.letter, []).append(i)
    chosen = {i for places in kinds.values() for i in (places[0], places[-1])}
    if any(block.n_depths > 1 for block in blocks):
        return [HeadMask.from_mapping({i: [1] for i in range(len(blocks))}, n_heads)]
    return [HeadMask.from_mapping({i: _group(blocks[i], 0)}, n_heads) for i in sorted(chosen)]


def _one_group_each(blocks: list[AttentionBlock]) -> HeadMask:
    """Another group in every block, and all heads of the second block where there are more than two."""
    shared = any(block.n_depths > 1 for block in blocks)
    rows = {i: _group(block, 0 if shared else i) for i, block in enumerate(blocks)}
    if len(blocks) > 2 and not shared:
        rows[1] = list(range(blocks[1].n_heads))
    return HeadMask.from_mapping(rows, head_counts(blocks))


def _group(block: AttentionBlock, which: int) -> list[int]:
    size = block.n_heads // block.n_kv_heads
    group = which % block.n_kv_heads
    return list(range(group * size, (group + 1) * size))


def _try(holds: Any, model: nn.Module, inputs: dict[str, Tensor], mask: HeadMask) -> str:
    try:
        return str(holds(copy.deepcopy(model), inputs, mask))
    except PruneHeadsError as error:
        return str(error).rsplit(": ", 1)[-1]
    except Exception as error:  # a forward that does not take its new shapes raises whatever it stumbles over
        return f"{type(error).__name__}: {first_line(error)}"


def _gate_holds(model: nn.Module, inputs: dict[str, Tensor], mask: HeadMask) -> str:
    plain, under = _logits(model, inputs), _gated(model, inputs, mask)
    if not torch.equal(_gated(model, inputs, HeadMask(mask.n_heads)), plain):
        return "gates of 1 change the logits"
    if _close(under, plain):
        return "gates of 0 do not change the logits"
    if any(block.n_depths > 1 for block in attention_blocks(model)):
        return (
            "" if _close(_logits(zero_heads(model, mask), inputs), under) else "gates are not zeroed weights"
        )
    with torch.no_grad():
        for block, heads in zip(attention_blocks(model), mask.by_block(), strict=True):
            block.output.weight[:, block.output.dimensions(heads)] = 0
    return "" if _close(_logits(model, inputs), under) else "gates of 0 are not zeroed columns of W_O"


def _zero_holds(model: nn.Module, inputs: dict[str, Tensor], mask: HeadMask) -> str:
    under = _gated(model, inputs, mask)
    return (
        "" if _close(_logits(zero_heads(model, mask), inputs), under) else "zeroed heads are not gated heads"
    )


def _remove_holds(model: nn.Module, inputs: dict[str, Tensor], mask: HeadMask) -> str:
    under = _gated(model, inputs, mask)
    return (
        ""
        if _close(_logits(remove_heads(model, mask), inputs), under)
        else "removed heads are not gated heads"
    )


@torch.no_grad()
def _logits(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    torch.manual_seed(0)  # some types draw which tokens attend, or hash them
    logits: Tensor = model(**inputs).logits
    return logits


def _gated(model: nn.Module, inputs: dict[str, Tensor], mask: HeadMask) -> Tensor:
    with gated(model, gates_of(model, mask)):
        return _logits(model, inputs)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= TOLERANCE * max(1.0, float(b.abs().max())))
