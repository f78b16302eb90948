"""What a model costs with and without heads, counted from shapes alone: it may be on the meta device."""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from prune_heads.anatomy import AttentionBlock, attention_blocks, units
from prune_heads.anatomy.block import gone_from
from prune_heads.costs import head_parameters, head_weights, is_in_layers, is_linear, linear_weights, pieces
from prune_heads.heads import HeadMask, Heads, as_mask


class Parts(NamedTuple):
    """A count for each part of a model."""

    attention: int = 0  # linear maps of the attention blocks, what else heads own, and products between tokens
    feed_forward: int = 0  # all other matrices inside the layers
    embeddings: int = 0  # tables that are looked up, which takes no multiply-add
    rest: int = 0  # norms, pooler, classifier

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self)


class Costs(NamedTuple):
    """Of a model with or without some of its heads."""

    parameters: Parts
    multiply_adds: Parts | None
    """Of linear maps and attention, for one example; None where the attention is of another kind."""


@dataclass(frozen=True)
class Budget:
    """What removing heads saves, and the most that it could."""

    blocks: tuple[AttentionBlock, ...]  # before anything was removed
    removed: HeadMask
    n_tokens: int
    before: Costs
    after: Costs  # without the heads of `removed`
    without_heads: Costs
    uncounted: tuple[str, ...]
    """What the multiply-adds leave out, in words: they are a lower bound. Empty where they are exact."""
    not_counted_because: str = ""  # why there are no multiply-adds at all; empty where there are
    not_removed: str = ""  # why the heads cannot be taken out; empty where they can

    @property
    def speedup(self) -> float | None:
        """Multiply-adds before over those after: the most that removing these heads can give."""
        return _ratio(self.before, self.after)

    @property
    def ceiling(self) -> float | None:
        """The same without any head."""
        return _ratio(self.before, self.without_heads)


def budget(model: PreTrainedModel, heads: Heads = "", n_tokens: int = 128) -> Budget:
    """What the model costs with all its heads, without those that are gone already or named, and without any.

    Args:
        model: Of a known type, also one that has lost heads; never run.
        heads: Counted as if `remove_heads` had taken them, in the original numbering.
        n_tokens: Of the one example; a decoder beside an encoder gets as many.

    Raises:
        UnsupportedModelError: If the type is unknown.
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    gone = gone_from(attention_blocks(model))
    if gone:  # the shapes of a block without heads do not tell what they were
        with torch.device("meta"):
            model = type(model)(copy.deepcopy(model.config))
    blocks = attention_blocks(model)
    removed = (as_mask(heads, gone.n_heads) | gone).with_whole(units(blocks))
    return Budget(
        blocks=tuple(blocks),
        removed=removed,
        n_tokens=n_tokens,
        before=costs(model, HeadMask(removed.n_heads), n_tokens),
        after=costs(model, removed, n_tokens),
        without_heads=costs(model, HeadMask.all(gone.n_heads), n_tokens),
        uncounted=tuple(_uncounted(model, blocks)),
        not_counted_because=next(
            (block.layout.other_attention for block in blocks if block.layout.other_attention), ""
        ),
        not_removed=next(filter(None, (block.layout.stays for block in blocks)), ""),
    )


def costs(model: PreTrainedModel, removed: HeadMask, n_tokens: int) -> Costs:
    """What an intact model costs as if the heads of the mask were removed.

    A linear map takes tokens * weights; attention tokens^2 * (dimensions of the queries + dimensions of the values),
    causal or not, as PyTorch computes it. Layers that share weights have them once, and use them at every depth.
    """
    blocks = attention_blocks(model)
    calls = {m: block.n_depths for block in blocks for m in block.layer_module.modules()}
    parameters, multiply_adds = Counter[str](), Counter[str]()
    for piece in pieces(model, blocks):
        parameters[piece.part] += sum(weight.numel() for weight in piece.weights)
        if piece.part != "attention" and piece.positions and is_linear(piece.module):
            positions = n_tokens if piece.positions == "every" else 1
            multiply_adds[piece.part] += positions * calls.get(piece.module, 1) * piece.weights[0].numel()
    for block, places in zip(blocks, removed.by_block(), strict=True):
        if block.depth == 0:
            parameters["attention"] -= head_parameters(block, places)
        if n_left := block.n_heads - len(places):  # without heads the whole block is skipped
            dims = len(block.query.heads[0]) + len(block.value.heads[0])
            multiply_adds["attention"] += n_tokens**2 * n_left * dims
            multiply_adds["attention"] += n_tokens * (linear_weights(block) - head_weights(block, places))
    is_counted = not any(block.layout.other_attention for block in blocks)
    return Costs(Parts(**parameters), Parts(**multiply_adds) if is_counted else None)


def _ratio(before: Costs, after: Costs) -> float | None:
    if before.multiply_adds is None or after.multiply_adds is None:
        return None
    return before.multiply_adds.total / after.multiply_adds.total


def _uncounted(model: PreTrainedModel, blocks: Sequence[AttentionBlock]) -> Iterator[str]:
    """What takes multiply-adds and is no linear map of known use."""
    if any(weight.ndim > 2 for name, weight in model.named_parameters() if is_in_layers(name, blocks)):
        yield "weights of more than two dimensions in the layers (experts, convolutions)"
    if any(block.layout.some_layers for block in blocks):
        yield "what layers without heads do beside their linear maps"
    unknown = [
        piece.name
        for piece in pieces(model, blocks)
        if piece.part == "rest" and piece.positions is None and is_linear(piece.module)
    ]
    if unknown:
        yield f"linear maps outside the layers, whose use is not known ({len(unknown)}, the first {unknown[0]})"
