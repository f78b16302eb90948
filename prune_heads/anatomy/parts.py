"""Which part of a model each of its modules is, and on how many tokens of a text it works."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, cast

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.block import AttentionBlock

PartName = Literal["attention", "feed_forward", "embeddings", "rest"]

_READ_ALL = ("ForTokenClassification", "ForQuestionAnswering")
"""How the names of classes end whose head reads every token."""

_EMBEDDING_MAPS = ("embeddings_project", "embedding_hidden_mapping_in", "embedding_transformation", "map_inputs_layer")
"""Names of linear maps from embeddings to layers, which every token goes through."""


class Piece(NamedTuple):
    """One module with weights of its own."""

    part: PartName
    positions: Literal["every", "one"] | None
    """Tokens that a linear map works on; None where that is not known, or is none of a text."""
    name: str
    module: nn.Module
    weights: list[Tensor]
    """Those that no piece before it has."""


def pieces(model: PreTrainedModel, blocks: Sequence[AttentionBlock]) -> Iterator[Piece]:
    """All modules of a classifier that have weights, each weight once.

    Attention is the matrices in the blocks and whatever heads own; feed-forward is all other matrices in the layers;
    embeddings are tables; the rest is norms, pooler, classifier.
    """
    attention = {module for block in blocks for module in block.module.modules()}
    owned = {id(tensor) for block in blocks for tensor in owned_besides(block)}
    late = getattr(model.config, "classifier_pooling", None) == "late"
    of_tokens = type(model).__name__.endswith(_READ_ALL)
    every = of_tokens or late or all(block.stack == "decoder" for block in blocks)  # which then take one
    seen: set[int] = set()
    for name, module in model.named_modules():
        weights: list[Tensor] = [w for w in module.parameters(recurse=False) if id(w) not in seen]
        if not weights:
            continue
        seen.update(map(id, weights))
        matrix = is_linear(module) or any(w.ndim > 1 for w in weights)
        if any(id(w) in owned for w in weights):  # if it is a linear map, then of positions or entities
            yield Piece("attention", None, name, module, weights)
        elif isinstance(module, nn.Embedding):
            yield Piece("embeddings", None, name, module, weights)
        elif matrix and module in attention:
            yield Piece("attention", "every", name, module, weights)
        elif matrix and is_in_layers(name, blocks):
            yield Piece("feed_forward", "every", name, module, weights)
        elif name.endswith(_EMBEDDING_MAPS):
            yield Piece("rest", "every", name, module, weights)
        elif "pooler" in name:
            yield Piece("rest", "one", name, module, weights)
        elif not name.startswith(f"{model.base_model_prefix}."):
            yield Piece("rest", "every" if every or name.startswith("score") else "one", name, module, weights)
        else:
            yield Piece("rest", None, name, module, weights)


def owned_besides(block: AttentionBlock) -> list[Tensor]:
    """Weights that all heads of the block own in equal shares, beside W_Q, W_K, W_V and W_O."""
    return [owned.tensor for owned in block.besides(())]


def linear_weights(block: AttentionBlock) -> int:
    """Weights of the linear maps in the block that tokens go through; those of `owned_besides` see no tokens."""
    besides = {id(tensor) for tensor in owned_besides(block)}
    return sum(
        weight.numel()
        for module in block.module.modules()
        if is_linear(module) and id(weight := cast(Tensor, module.weight)) not in besides
    )


def is_in_layers(name: str, blocks: Sequence[AttentionBlock]) -> bool:
    """Whether what has this path is a part of something numbered, below what holds the layers of the blocks."""
    stacks = {re.split(r"\.\d+(?:\.|$)", block.name)[0].rpartition(".")[0] for block in blocks}
    return any(
        name.startswith(f"{stack}.") and any(map(str.isdigit, name.removeprefix(f"{stack}.").split(".")))
        for stack in stacks
    )


def is_linear(module: nn.Module) -> bool:
    """Whether it is a linear map of transformers."""
    return isinstance(module, nn.Linear | Conv1D)
