"""Which heads can only go together, since weights of theirs are the same."""

from collections.abc import Sequence

from torch import nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.descriptors import Head

Unit = frozenset[Head]
"""Heads (block, head), from 0, in the original numbering."""


def units(blocks: Sequence[AttentionBlock], *, groups: bool = False) -> tuple[Unit, ...]:
    """All heads that are there, each with those that go with it; in order.

    Where layers share their weights (ALBERT), a head goes at every depth.

    Args:
        blocks: Of a model.
        groups: Whether heads that share keys and values (grouped-query attention) go together.
    """
    sharing: dict[nn.Module, list[int]] = {}
    for i, block in enumerate(blocks):
        sharing.setdefault(block.module, []).append(i)
    found = []
    for places in sharing.values():
        block = blocks[places[0]]
        size = block.n_heads // block.n_kv_heads if groups and block.n_kv_heads else 1
        for start in range(0, block.n_heads, size):
            heads = block.original_heads[start : start + size]
            found.append(frozenset((place, head) for place in places for head in heads))
    return tuple(found)


def has_groups(blocks: Sequence[AttentionBlock]) -> bool:
    """Whether several heads share keys and values in some block."""
    return any(block.n_heads > block.n_kv_heads for block in blocks)


def shares_layers(blocks: Sequence[AttentionBlock]) -> bool:
    """Whether several layers share their weights."""
    return any(block.n_depths > 1 for block in blocks)
