"""What heads and the other parts of a model cost: parameters and multiply-adds, counted from shapes alone."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple, cast

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy import AttentionBlock
from prune_heads.heads import HeadMask

_READ_ALL = ("ForTokenClassification", "ForQuestionAnswering")
"""How the names of classes end whose head reads every token."""

_EMBEDDING_MAPS = ("embeddings_project", "embedding_hidden_mapping_in", "embedding_transformation", "map_inputs_layer")
"""Names of linear maps from embeddings to layers, which every token goes through."""


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


def head_weights(block: AttentionBlock, places: Collection[int]) -> int:
    """The same without biases, of W_Q, W_K, W_V and W_O alone: the weights of linear maps that tokens go through."""
    besides = _besides(block)
    weights = (each for each in block.owned(places) if each.tensor.ndim > 1 and id(each.tensor) not in besides)
    return sum(each.n_parameters for each in weights)


def linear_weights(block: AttentionBlock) -> int:
    """Weights of the linear maps in the block that tokens go through."""
    besides = _besides(block)
    weights = (cast(Tensor, module.weight) for module in block.module.modules() if is_linear(module))
    return sum(weight.numel() for weight in weights if id(weight) not in besides)


def _besides(block: AttentionBlock) -> set[int]:
    """Identities of the weights that heads own beside W_Q, W_K, W_V and W_O; these see no tokens."""
    return {id(owned.tensor) for owned in block.besides()}


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
    owned = {each for block in blocks for each in _besides(block)}
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
