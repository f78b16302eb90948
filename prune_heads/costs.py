"""What heads cost: parameters and multiply-adds, counted from shapes alone."""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.parts import owned_besides
from prune_heads.heads import HeadMask


def head_parameters(block: AttentionBlock, places: Collection[int]) -> int:
    """Parameters that the heads at these places (from 0) own: rows of W_Q, W_K, W_V with biases, columns of W_O.

    With d the width of the model, `head_dim * (4 d + 3)` a head where all three have biases. W_K and W_V of a group
    of heads count with the last of them. Further what the layout names besides, such as position projections.
    """
    biases = sum(
        len(projection.dimensions(own))
        for projection, own in block.inputs_of(places)
        if projection.bias is not None
    )
    besides = (
        sum(len(places) * (tensor.numel() // block.n_heads) for tensor in owned_besides(block))
        if places
        else 0
    )
    return head_weights(block, places) + biases + besides


def head_weights(block: AttentionBlock, places: Collection[int]) -> int:
    """The same without biases, of W_Q, W_K, W_V and W_O alone: the weights of linear maps that tokens go through."""
    inputs = sum(
        len(projection.dimensions(own)) * projection.weight.shape[1]
        for projection, own in block.inputs_of(places)
    )
    return inputs + len(block.output.dimensions(places)) * block.output.weight.shape[0]


def pruned_parameters(blocks: Sequence[AttentionBlock], mask: HeadMask) -> int:
    """Parameters owned by the heads of the mask that are still in the model."""
    return sum(
        head_parameters(block, [i for i, head in enumerate(block.original_heads) if head in pruned])
        for block, pruned in zip(blocks, mask.by_block(), strict=True)
        if block.depth == 0
    )


def n_parameters(model: nn.Module) -> int:
    """All parameters of the model."""
    return sum(parameter.numel() for parameter in model.parameters())


def ablation_multiply_adds(
    blocks: Sequence[AttentionBlock], n_tokens: NDArray[np.int64], *, one_position: bool
) -> int:
    """Multiply-adds that a table of every head's ablation needs in the layers, nothing computed twice.

    One pass without a mask; then for each head what comes after its layer's attention, and the layers above. Without
    padding, embeddings, norms and the classifier, which are small beside it.

    Args:
        blocks: Of the model.
        n_tokens: `(n_examples,)` tokens of each example.
        one_position: Whether the last layer is needed for one position only, which leaves of its keys and values
            n_heads products with its input.
    """
    tokens, squares, n = int(n_tokens.sum()), int((n_tokens.astype(np.int64) ** 2).sum()), len(n_tokens)
    whole, after = [], []  # a layer for all tokens; what comes after its attention
    for block in blocks:
        linear, own = _linear_parameters(block)
        whole.append(tokens * linear + 2 * squares * block.n_heads * block.head_dim)
        after.append(tokens * (linear - own))
    total = sum(whole)
    if one_position:
        last = blocks[-1]
        linear, own = _linear_parameters(last)
        mixing = 2 * tokens * last.n_heads * last.key.weight.shape[1]
        whole[-1], after[-1] = n * linear + mixing, n * (linear - own)
    for i, block in enumerate(blocks):
        total += block.n_heads * (after[i] + sum(whole[i + 1 :]))
    return total


def _linear_parameters(block: AttentionBlock) -> tuple[int, int]:
    """Weights of the linear maps of the block's layer, and of W_Q, W_K and W_V among them."""
    own = {p.module: p.weight.numel() for p in (block.query, block.key, block.value)}
    return sum(m.weight.numel() for m in block.linears()), sum(own.values())
