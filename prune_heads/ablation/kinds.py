"""The masks of the paper's two ablations: without one head (section 3.2), and with only one (section 3.3)."""

from collections.abc import Callable, Mapping, Sequence

from prune_heads.descriptors import Head
from prune_heads.heads import HeadMask


def without_one(there: Sequence[Head], head: Head) -> frozenset[Head]:
    """The head itself."""
    return frozenset([head])


def only_one(there: Sequence[Head], head: Head) -> frozenset[Head]:
    """All other heads of its layer."""
    return frozenset(other for other in there if other[0] == head[0] and other != head)


KINDS: Mapping[str, Callable[[Sequence[Head], Head], frozenset[Head]]] = {
    "without-one": without_one,
    "only-one": only_one,
}
"""`--kind` -> which heads are masked to ask about a head, among those that are there."""


def ablations(kind: str, gone: HeadMask, blocks: Sequence[int] | None = None) -> dict[Head, HeadMask]:
    """The mask that asks about each head that is there, in order.

    Args:
        kind: Key of `KINDS`.
        gone: Heads that the model has lost before; part of every mask.
        blocks: The attention blocks to ask about, from 0; None for all.
    """
    there = list(~gone)
    wanted = range(len(gone.n_heads)) if blocks is None else blocks
    return {head: HeadMask(gone.n_heads, KINDS[kind](there, head)) | gone for head in there if head[0] in wanted}
