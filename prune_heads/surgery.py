"""Pruning for good: zero the weights of heads in place, or take them out.

Head h of a block owns rows `h*head_dim:(h+1)*head_dim` of W_Q, W_K, W_V and of their biases, and the same
columns of W_O. The bias of W_O belongs to no head and stays. Without the bias of W_V, zeroed rows would
still send W_O b_V onwards, since attention weights sum to 1.
"""

import torch
from torch import Tensor, nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.locate import attention_blocks, leave_record
from prune_heads.heads import HeadMask, Heads, as_mask


def zero_heads(model: nn.Module, heads: Heads) -> nn.Module:
    """Zero everything that the heads own; shapes stay, so the checkpoint loads in plain transformers.

    Args:
        model: Changed in place and returned.
        heads: A `HeadMask`, a descriptor (`"3:1,5"`, from 1) or block -> heads (from 0), in the original
            numbering. Heads that have been removed before are left alone.

    Raises:
        UnsupportedModelError: If the model's type is unknown.
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    with torch.no_grad():
        for block, pruned in _pruned_by_block(model, heads):
            index = _dimensions(block, [i for i, head in enumerate(block.original_heads) if head in pruned])
            for projection in (block.query, block.key, block.value):
                projection.weight[index] = 0
                if projection.bias is not None:
                    projection.bias[index] = 0
            block.output.weight[:, index] = 0
    return model


def remove_heads(model: nn.Module, heads: Heads) -> nn.Module:
    """Take the heads out: fewer rows in W_Q, W_K, W_V and columns in W_O, down to none.

    Args and errors as `zero_heads`. A second removal uses the original numbering too.
    """
    for block, pruned in _pruned_by_block(model, heads):
        kept = [i for i, head in enumerate(block.original_heads) if head not in pruned]
        if len(kept) == block.n_heads:
            continue
        index = _dimensions(block, kept)
        for projection in (block.query, block.key, block.value):
            projection.weight = _selected(projection.weight, 0, index)
            if projection.bias is not None:
                projection.bias = _selected(projection.bias, 0, index)
            projection.out_features = len(index)
        block.output.weight = _selected(block.output.weight, 1, index)
        block.output.in_features = len(index)
        for module, attribute, unit in block.counters:
            setattr(module, attribute, len(kept) * unit)
        leave_record(block, tuple(block.original_heads[i] for i in kept))
    return model


def removed_heads(model: nn.Module) -> HeadMask:
    """The heads that `remove_heads` has taken out of the model so far, in the original numbering."""
    blocks = attention_blocks(model)
    kept = frozenset((b, head) for b, block in enumerate(blocks) for head in block.original_heads)
    everything = HeadMask.all([block.n_original_heads for block in blocks])
    return HeadMask(everything.n_heads, everything.pruned - kept)


def _pruned_by_block(model: nn.Module, heads: Heads) -> list[tuple[AttentionBlock, tuple[int, ...]]]:
    blocks = attention_blocks(model)
    mask = as_mask(heads, [block.n_original_heads for block in blocks])
    return list(zip(blocks, mask.by_block(), strict=True))


def _dimensions(block: AttentionBlock, positions: list[int]) -> Tensor:
    """The rows of W_Q (columns of W_O) that the heads at these positions own: `(len * head_dim,)`."""
    device = block.output.weight.device
    first = torch.tensor(positions, dtype=torch.long, device=device)[:, None] * block.head_dim
    return (first + torch.arange(block.head_dim, device=device)).flatten()


def _selected(parameter: Tensor, dim: int, index: Tensor) -> nn.Parameter:
    chosen = parameter.detach().index_select(dim, index).contiguous()
    return nn.Parameter(chosen, requires_grad=parameter.requires_grad)
