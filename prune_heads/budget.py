"""What a model costs with and without heads, counted from shapes alone: it may be on the meta device."""

import copy
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy import AttentionBlock, attention_blocks, units
from prune_heads.anatomy.block import gone_from
from prune_heads.heads import HeadMask, Heads, as_mask

_READ_ALL = ("ForTokenClassification", "ForQuestionAnswering")
"""How the names of classes end whose head reads every token."""

_EMBEDDING_MAPS = ("embeddings_project", "embedding_hidden_mapping_in", "embedding_transformation", "map_inputs_layer")
"""Names of linear maps from embeddings to layers, which every token goes through."""


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
            besides = {id(owned.tensor) for owned in block.besides()}  # these see no tokens
            maps = (cast(Tensor, module.weight) for module in block.module.modules() if is_linear(module))
            gone = (owned for owned in block.owned(places) if owned.tensor.ndim > 1)
            n_weights = sum(weight.numel() for weight in maps if id(weight) not in besides)
            n_weights -= sum(owned.n_parameters for owned in gone if id(owned.tensor) not in besides)
            multiply_adds["attention"] += n_tokens * n_weights
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


Part = Literal["attention", "feed_forward", "embeddings", "rest"]
Positions = Literal["every", "one"] | None
"""Tokens that a linear map works on; None where that is not known, or is none of a text."""


class Piece(NamedTuple):
    """One module with weights of its own."""

    part: Part
    positions: Positions
    name: str
    module: nn.Module
    weights: list[Tensor]  # those that no piece before it has


def pieces(model: PreTrainedModel, blocks: Sequence[AttentionBlock]) -> Iterator[Piece]:
    """All modules of a classifier that have weights, each weight once.

    Attention is the matrices in the blocks and whatever heads own; feed-forward is all other matrices in the layers;
    embeddings are tables; the rest is norms, pooler, classifier.
    """
    attention = {module for block in blocks for module in block.module.modules()}
    owned = {id(each.tensor) for block in blocks for each in block.besides()}
    late = getattr(model.config, "classifier_pooling", None) == "late"
    of_tokens = type(model).__name__.endswith(_READ_ALL)
    reads_all = of_tokens or late or all(block.stack == "decoder" for block in blocks)  # which then take one
    seen: set[int] = set()
    for name, module in model.named_modules():
        weights: list[Tensor] = [w for w in module.parameters(recurse=False) if id(w) not in seen]
        if not weights:
            continue
        seen.update(map(id, weights))
        matrix = is_linear(module) or any(w.ndim > 1 for w in weights)
        read: Positions = "every" if reads_all or name.startswith("score") else "one"
        kinds: tuple[tuple[bool, Part, Positions], ...] = (  # the first that holds
            (any(id(w) in owned for w in weights), "attention", None),  # a linear map of positions or entities
            (isinstance(module, nn.Embedding), "embeddings", None),
            (matrix and module in attention, "attention", "every"),
            (matrix and is_in_layers(name, blocks), "feed_forward", "every"),
            (name.endswith(_EMBEDDING_MAPS), "rest", "every"),
            ("pooler" in name, "rest", "one"),
            (not name.startswith(f"{model.base_model_prefix}."), "rest", read),
            (True, "rest", None),
        )
        _, part, positions = next(kind for kind in kinds if kind[0])
        yield Piece(part, positions, name, module, weights)


def is_in_layers(name: str, blocks: Sequence[AttentionBlock]) -> bool:
    """Whether what has this path is a part of something numbered, below what holds the layers of the blocks."""
    stacks = {re.split(r"\.\d+(?:\.|$)", block.name)[0].rpartition(".")[0] for block in blocks}
    return any(re.match(rf"{re.escape(stack)}\.(.*\.)?\d+(\.|$)", name) for stack in stacks)


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear map of transformers."""
    return isinstance(module, nn.Linear | Conv1D)


def n_parameters(model: nn.Module) -> int:
    """All parameters of the model."""
    return sum(parameter.numel() for parameter in model.parameters())


def head_parameters(block: AttentionBlock, places: Collection[int]) -> int:
    """Parameters that the heads at these places (from 0) own: rows of W_Q, W_K, W_V with biases, columns of W_O.

    With d the width of the model, `head_dim * (4 d + 3)` a head where all three have biases. W_K and W_V of a group
    of heads count with the last of them. Further what the layout names besides, such as position projections.
    """
    return sum(owned.n_parameters for owned in block.owned(places))


def pruned_parameters(blocks: Sequence[AttentionBlock], mask: HeadMask) -> int:
    """Parameters owned by the heads of the mask that are still in the model."""
    pairs = zip(blocks, mask.by_block(), strict=True)
    return sum(head_parameters(block, block.places(pruned)) for block, pruned in pairs if block.depth == 0)
