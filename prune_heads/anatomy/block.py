"""One attention block of a model, as found by `attention_blocks`, and the four projections that its heads share."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.families import Kind, Layout, Stack
from prune_heads.descriptors import Head, HeadCounts, letter_of
from prune_heads.heads import HeadMask

Unit = frozenset[Head]  # heads (block, head), from 0, in the original numbering


class Owned(NamedTuple):
    """What some heads own of one weight or bias."""

    module: nn.Module
    name: str  # of the tensor in the module
    dim: int  # dimension of the tensor, as it is stored, along which heads share it
    indices: list[int]  # what is the heads' in that dimension

    @property
    def tensor(self) -> Tensor:
        """The whole weight."""
        return cast(Tensor, getattr(self.module, self.name))

    @property
    def where(self) -> Tensor:
        """The indices, where the weight is."""
        return torch.tensor(self.indices, dtype=torch.long, device=self.tensor.device)

    @property
    def n_parameters(self) -> int:
        """Elements of the weight that are these heads'."""
        return len(self.indices) * self.tensor.numel() // self.tensor.shape[self.dim] if self.indices else 0


@dataclass(frozen=True)
class Projection:
    """W_Q, W_K, W_V or W_O of a block: a linear map, or a parameter of the attention module itself.

    Several projections may be one module, where a model fuses them.
    """

    module: nn.Module
    heads: tuple[range, ...] = ()
    """For each head its outputs of W_Q, W_K and W_V, its inputs of W_O. W_K and W_V: for each key and value head."""
    names: tuple[str, str] = ("weight", "bias")  # of its weight and its bias in the module
    turned: bool = False  # whether the weight is kept as `(inputs, outputs)`

    @property
    def weight(self) -> Tensor:
        """`(outputs, inputs)`; a view, also of one that is kept the other way round, or head by head."""
        return self.laid(cast(Tensor, getattr(self.module, self.names[0])))

    def laid(self, stored: Tensor) -> Tensor:
        """`(outputs, inputs)`: a view of what is stored as the weight is, such as its gradient."""
        return stored.flatten(1).T if self.turned else stored.flatten(1)

    @property
    def bias(self) -> Tensor | None:
        """`(outputs,)`, where there is one."""
        return cast(Tensor | None, getattr(self.module, self.names[1], None))

    @property
    def is_own(self) -> bool:
        """Whether the module is this projection and nothing else, head after head."""
        size = self.heads[0].stop if self.heads else 0
        in_turn = all(dims == range(i * size, (i + 1) * size) for i, dims in enumerate(self.heads))
        return isinstance(self.module, nn.Linear) and in_turn and len(self.heads) * size in self.weight.shape

    def dimensions(self, heads: Iterable[int]) -> Tensor:
        """What these heads (places, from 0) own together, in order: `(n,)` indices."""
        return torch.tensor([i for head in heads for i in self.heads[head]], device=self.weight.device).long()

    def owned(self, heads: Collection[int], *, inputs: bool = False) -> Iterator[Owned]:
        """What these heads own: outputs with their biases; inputs of W_O."""
        weight, bias = self.names
        stored, dims = cast(Tensor, getattr(self.module, weight)), [i for head in heads for i in self.heads[head]]
        # A weight of three dimensions is `(width, heads, dimensions)`.
        yield Owned(self.module, weight, int(inputs ^ self.turned), list(heads) if stored.ndim == 3 else dims)
        if not inputs and self.bias is not None:
            yield Owned(self.module, bias, 0, dims)


@dataclass(frozen=True)
class AttentionBlock:
    """One attention module: where it is and how its heads are laid out.

    It describes the model as it is now. After `remove_heads`, call `attention_blocks` again.
    """

    name: str  # module path, e.g. `bert.encoder.layer.0.attention`.
    kind: Kind
    stack: Stack
    layer: int  # layer within its stack, from 0
    head_dim: int  # dimensions of one head of W_O's input
    original_heads: tuple[int, ...]  # for each head that is there, its index (from 0) before anything was removed
    n_original_heads: int  # heads before anything was removed
    module: nn.Module  # the module that holds the record of removed heads
    layer_module: nn.Module  # the transformer layer that the block is part of: attention, feed-forward and norms
    query: Projection
    key: Projection
    value: Projection
    output: Projection
    layout: Layout  # the row of the table that described it
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
    def group_size(self) -> int:
        """Heads that share keys and values; 1 for a block without heads."""
        return self.n_heads // self.n_kv_heads if self.n_kv_heads else 1

    @property
    def is_plain(self) -> bool:
        """Whether W_Q, W_K, W_V and W_O are modules of their own, and each head has its own keys and values."""
        parts = (self.query, self.key, self.value, self.output)
        return self.n_heads == self.n_kv_heads and all(part.is_own for part in parts)

    @property
    def letter(self) -> str:
        """The paper's: E (encoder), A (encoder-decoder attention), D (decoder self-attention)."""
        return letter_of(self.kind, self.stack)

    def places(self, heads: Collection[int]) -> list[int]:
        """Where those of these heads (original numbering, from 0) are that are still there, from 0."""
        return [place for place, head in enumerate(self.original_heads) if head in heads]

    def gated(self, context: Tensor, gates: Tensor, instead: Tensor | None = None) -> Tensor:
        """The input of W_O, `(..., n_heads * head_dim)`: of each head `gate * context + (1 - gate) * instead`.

        Args:
            context: What the heads send.
            gates: Broadcast against `(..., n_heads)`.
            instead: What stands in for a head whose gate is 0: `(n_heads * head_dim,)`; a row a position, the last for
                all tokens from there on; or of the shape of the context. None for nothing; a ValueError for others.
        """
        heads = (self.n_heads, self.head_dim)
        by_head, gates = context.unflatten(-1, heads), gates.to(context.dtype)[..., None]
        if instead is None:
            return (by_head * gates).flatten(-2)
        if instead.ndim == 2 and len(instead):
            instead = instead[torch.arange(context.shape[-2], device=instead.device).clamp(max=len(instead) - 1)]
        if tuple(instead.shape) not in [tuple(context.shape[i:]) for i in range(context.ndim)]:
            must = f"what stands in for heads of {self.name} must have the shape of a row of {tuple(context.shape)}"
            raise ValueError(f"{must}, of several, or of all; got {tuple(instead.shape)}")
        return torch.lerp(instead.to(context).unflatten(-1, heads), by_head, gates).flatten(-2)  # exact at 0 and at 1

    def inputs_of(self, places: Collection[int]) -> list[tuple[Projection, list[int]]]:
        """What goes of W_V, W_K and W_Q with the heads at these places (from 0): each with the places of its heads.

        Of keys and values that several heads share, what no other head needs. Where W_Q and W_K of a head cannot be
        told apart from others', W_V alone.
        """
        size = self.group_size
        groups = [g for g in range(self.n_kv_heads) if {*range(g * size, (g + 1) * size)} <= {*places}]
        parts = [(self.value, groups), (self.key, groups), (self.query, sorted(places))]
        return parts[:1] if self.layout.coupled else parts

    def owned(self, places: Collection[int]) -> Iterator[Owned]:
        """All that the heads at these places (from 0) own: what `zero_heads` zeroes and `remove_heads` takes out.

        The bias of W_O belongs to no head. One weight may come several times, where it holds several projections.
        """
        yield from self.output.owned(places, inputs=True)
        for projection, own in self.inputs_of(places):
            yield from projection.owned(own)
        yield from self.besides(places)

    def besides(self, places: Collection[int] = ()) -> Iterator[Owned]:
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
        """The linear maps of the whole layer, feed-forward included, whoever owns their dimensions."""
        maps = [module for module in self.layer_module.modules() if isinstance(module, nn.Linear | Conv1D)]
        return [Projection(module, turned=isinstance(module, Conv1D)) for module in maps]

    def describe(self) -> dict[str, object]:
        """The block for reports: name, kind, stack, layer (from 1), n_heads (before removal)."""
        described = {"name": self.name, "kind": self.kind, "stack": self.stack}
        return {**described, "layer": self.layer + 1, "n_heads": self.n_original_heads}


def owned_dimensions(
    held_by: Mapping[str, str], sizes: Mapping[str, int], n_heads: int, width: int, *, interleaved: bool
) -> dict[str, tuple[range, ...]]:
    """Which dimensions each head owns, for each of Q, K and V, from their sizes alone.

    A module may hold one of them or several. Of those it holds, the order is W_Q, W_K, W_V; *stacked*, all heads of one
    come before those of the next; *interleaved*, each key and value head follows its query heads.

    `held_by` is `Q`, `K`, `V` -> the module that holds it, `sizes` the outputs of each module, `n_heads` the query
    heads, `width` the inputs of W_O, `n_heads * value dimensions`. A ValueError says which sizes do not fit.
    """
    q, k, v = held_by.values()
    d = _exact(width, n_heads, "the inputs of W_O", "heads")
    dims = dict.fromkeys("QKV", d)
    if q == k == v:
        n_kv, odd = divmod(_exact(sizes[v], d, "the outputs of W_QKV", "dimensions a head") - n_heads, 2)
        if odd or n_kv < 0:
            raise ValueError(f"W_QKV has {sizes[v]} outputs for {n_heads} heads of {d} dimensions")
    else:
        n_kv = n_heads if k == v else _exact(sizes[v], d, "the outputs of W_V", "dimensions a head")
        dims["Q"] = _exact(sizes[q], n_heads, "the outputs of W_Q", "heads")
        dims["K"] = _exact(sizes[k], n_kv, "the outputs of W_K", "key heads") - (d if k == v else 0)
    if n_kv:
        _exact(n_heads, n_kv, "the query heads", "key heads")
    counts = {"Q": n_heads, "K": n_kv, "V": n_kv}
    owned: dict[str, list[range]] = {part: [] for part in "QKV"}
    rounds = n_kv if interleaved else 1
    for path in dict.fromkeys(held_by.values()):
        held = [part for part in "QKV" if held_by[part] == path]
        order = [part for _ in range(rounds) for part in held for _ in range(counts[part] // rounds)]
        start = 0
        for part in order:
            owned[part].append(range(start, start + dims[part]))
            start += dims[part]
    return {part: tuple(rows) for part, rows in owned.items()}


def _exact(size: int, parts: int, what: str, of: str) -> int:
    whole, rest = divmod(size, parts) if parts else (0, size)
    if rest:
        raise ValueError(f"{what} ({size}) cannot be shared by {parts} {of}")
    return whole


def head_counts(blocks: Sequence[AttentionBlock]) -> HeadCounts:
    """Heads of each block of a model before any removal, with the letters of an encoder-decoder."""
    return HeadCounts((block.n_original_heads for block in blocks), "".join(block.letter for block in blocks))


def gone_from(blocks: Sequence[AttentionBlock]) -> HeadMask:
    """The heads that have been removed from the blocks, in the original numbering."""
    there = frozenset((b, head) for b, block in enumerate(blocks) for head in block.original_heads)
    return ~HeadMask(head_counts(blocks), there)


def units(blocks: Sequence[AttentionBlock], *, groups: bool = False) -> tuple[Unit, ...]:
    """All heads that are there, each with those that go with it; in order.

    Where layers share their weights (ALBERT), a head goes at every depth; with `groups`, those that share keys and
    values (grouped-query attention) go together.
    """
    sharing: dict[nn.Module, list[int]] = {}
    for i, block in enumerate(blocks):
        sharing.setdefault(block.module, []).append(i)
    found: list[Unit] = []
    for places in sharing.values():
        block = blocks[places[0]]
        size = block.group_size if groups else 1
        groups_of = (block.original_heads[start : start + size] for start in range(0, block.n_heads, size))
        found += [frozenset(product(places, heads)) for heads in groups_of]
    return tuple(found)
