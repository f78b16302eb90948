"""What heads cost: parameters and multiply-adds, counted from shapes alone."""

from collections.abc import Collection, Sequence

from torch import nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.parts import owned_besides
from prune_heads.heads import HeadMask


def head_parameters(block: AttentionBlock, places: Collection[int]) -> int:
    """Parameters that the heads at these places (from 0) own: rows of W_Q, W_K, W_V with biases, columns of W_O.

    With d the width of the model, `head_dim * (4 d + 3)` a head where all three have biases. W_K and W_V of a group
    of heads count with the last of them. Further what the layout names besides, such as position projections.
    """
    return sum(owned.n_parameters for owned in block.owned(places))


def head_weights(block: AttentionBlock, places: Collection[int]) -> int:
    """The same without biases, of W_Q, W_K, W_V and W_O alone: the weights of linear maps that tokens go through."""
    besides = {id(tensor) for tensor in owned_besides(block)}
    weights = (each for each in block.owned(places) if each.tensor.ndim > 1 and id(each.tensor) not in besides)
    return sum(each.n_parameters for each in weights)


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
