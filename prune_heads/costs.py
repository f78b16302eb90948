"""What heads cost: parameters, counted from shapes alone."""

from collections.abc import Sequence

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
