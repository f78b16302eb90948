"""What heads cost: parameters and multiply-adds, counted from shapes alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.heads import HeadMask


def head_parameters(block: AttentionBlock) -> int:
    """Parameters that one head owns: rows of W_Q, W_K, W_V with their biases, and columns of W_O.

    With d the width of the model, `head_dim * (4 d + 3)` where all three have biases.
    """
    rows = sum(p.in_features + (p.bias is not None) for p in (block.query, block.key, block.value))
    return block.head_dim * (rows + block.output.out_features)


def pruned_parameters(blocks: Sequence[AttentionBlock], mask: HeadMask) -> int:
    """Parameters owned by the heads of the mask that are still in the model."""
    return sum(
        head_parameters(block) * len(set(pruned) & set(block.original_heads))
        for block, pruned in zip(blocks, mask.by_block(), strict=True)
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
        mixing = 2 * tokens * last.n_heads * last.key.in_features
        whole[-1], after[-1] = n * linear + mixing, n * (linear - own)
    for i, block in enumerate(blocks):
        total += block.n_heads * (after[i] + sum(whole[i + 1 :]))
    return total


def _linear_parameters(block: AttentionBlock) -> tuple[int, int]:
    """Weights of the linear maps of the block's layer, and of W_Q, W_K and W_V among them."""
    own = (block.query, block.key, block.value)
    return sum(m.weight.numel() for m in block.linears()), sum(m.weight.numel() for m in own)
