"""One attention block of a model, as found by `attention_blocks`."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.layout import Kind, Layout, Stack
from prune_heads.anatomy.projection import Owned, Projection
from prune_heads.descriptors import Head, HeadCounts, letter_of
from prune_heads.heads import HeadMask

Unit = frozenset[Head]
"""Heads (block, head), from 0, in the original numbering."""


@dataclass(frozen=True)
class AttentionBlock:
    """One attention module: where it is and how its heads are laid out.

    It describes the model as it is now. After `remove_heads`, call `attention_blocks` again.
    """

    name: str
    """Module path, e.g. `bert.encoder.layer.0.attention`."""
    kind: Kind
    stack: Stack
    layer: int
    """Layer within its stack, from 0."""
    head_dim: int
    """Dimensions of one head of W_O's input."""
    original_heads: tuple[int, ...]
    """For each head that is there, its index (from 0) before anything was removed."""
    n_original_heads: int
    """Heads before anything was removed."""
    module: nn.Module
    """The module that holds the record of removed heads."""
    layer_module: nn.Module
    """The transformer layer that the block is part of: attention, feed-forward and norms."""
    query: Projection
    key: Projection
    value: Projection
    output: Projection
    layout: Layout
    """The row of the table that described it."""
    depth: int = 0
    """Where layers share weights: which call of the module, of `n_depths` in a forward pass, this block is."""
    n_depths: int = 1

    @property
    def n_heads(self) -> int:
        """Query heads that the block has now."""
        return len(self.original_heads)

    @property
    def n_kv_heads(self) -> int:
        """Key and value heads that it has now; fewer than `n_heads` with grouped-query attention."""
        return len(self.key.heads)

    @property
    def is_plain(self) -> bool:
        """Whether W_Q, W_K, W_V and W_O are modules of their own, and each head has its own keys and values."""
        parts = (self.query, self.key, self.value, self.output)
        return self.n_heads == self.n_kv_heads and all(part.is_own for part in parts)

    @property
    def letter(self) -> str:
        """The paper's: E (encoder), A (encoder-decoder attention), D (decoder self-attention)."""
        return letter_of(self.kind, self.stack)

    def gated(self, context: Tensor, gates: Tensor) -> Tensor:
        """The input of W_O, `(..., n_heads * head_dim)`, each head times its gate.

        Args:
            context: What the heads send.
            gates: Broadcast against `(..., n_heads)`.
        """
        by_head = context.unflatten(-1, (self.n_heads, self.head_dim))
        return (by_head * gates.to(context.dtype)[..., None]).flatten(-2)

    def inputs_of(self, places: Collection[int]) -> list[tuple[Projection, list[int]]]:
        """What goes of W_V, W_K and W_Q with the heads at these places (from 0): each with the places of its heads.

        Of keys and values that several heads share, what no other head needs. Where W_Q and W_K of a head cannot be
        told apart from others', W_V alone.
        """
        size = self.n_heads // self.n_kv_heads if self.n_kv_heads else 1
        groups = [g for g in range(self.n_kv_heads) if set(range(g * size, (g + 1) * size)) <= set(places)]
        parts = [(self.value, groups)]
        if not self.layout.coupled:
            parts += [(self.key, groups), (self.query, sorted(places))]
        return parts

    def owned(self, places: Collection[int]) -> Iterator[Owned]:
        """All that the heads at these places (from 0) own: what `zero_heads` zeroes and `remove_heads` takes out.

        The bias of W_O belongs to no head. One weight may come several times, where it holds several projections.
        """
        yield from self.output.owned(places, inputs=True)
        for projection, own in self.inputs_of(places):
            yield from projection.owned(own)
        yield from self.besides(places)

    def besides(self, places: Collection[int]) -> Iterator[Owned]:
        """The part of `owned` that the layout names beside W_Q, W_K, W_V and W_O; all heads have equal shares."""
        for path, dim in self.layout.also:
            parent, _, name = path.rpartition(".")
            holder = self.module.get_submodule(parent)
            thing = getattr(holder, name, None)
            module, names = (thing, ("weight", "bias")) if isinstance(thing, nn.Module) else (holder, (name,))
            for each in names:
                if isinstance(tensor := getattr(module, each, None), Tensor):
                    share = tensor.shape[dim] // max(1, self.n_heads)
                    indices = [i for place in places for i in range(place * share, (place + 1) * share)]
                    yield Owned(module, each, dim, indices)

    def linears(self) -> list[Projection]:
        """The linear maps of the whole layer, feed-forward included."""
        return [Projection.of(m) for m in self.layer_module.modules() if isinstance(m, nn.Linear | Conv1D)]

    def describe(self) -> dict[str, object]:
        """The block for reports: name, kind, stack, layer (from 1), n_heads (before removal)."""
        return {
            "name": self.name,
            "kind": self.kind,
            "stack": self.stack,
            "layer": self.layer + 1,
            "n_heads": self.n_original_heads,
        }


def head_counts(blocks: Sequence[AttentionBlock]) -> HeadCounts:
    """Heads of each block of a model before any removal, with the letters of an encoder-decoder."""
    return HeadCounts((block.n_original_heads for block in blocks), "".join(block.letter for block in blocks))


def gone_from(blocks: Sequence[AttentionBlock]) -> HeadMask:
    """The heads that have been removed from the blocks, in the original numbering."""
    there = frozenset((b, head) for b, block in enumerate(blocks) for head in block.original_heads)
    return HeadMask.all(head_counts(blocks)) - HeadMask(head_counts(blocks), there)


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
