"""Which dimensions of its projections each head owns, from their sizes alone.

A module may hold one projection or several. Of those it holds, the order is W_Q, W_K, W_V; *stacked*, all heads of
one come before those of the next; *interleaved*, each key and value head follows its query heads.
"""

from collections.abc import Mapping
from itertools import groupby

Part = str
"""`Q`, `K` or `V`."""


def owned_dimensions(
    held_by: Mapping[Part, str], sizes: Mapping[str, int], n_heads: int, width: int, *, interleaved: bool
) -> dict[Part, tuple[range, ...]]:
    """The dimensions of each head, for each of Q, K and V.

    Args:
        held_by: The module that holds each part.
        sizes: Outputs of each module.
        n_heads: Query heads.
        width: Inputs of W_O, `n_heads * value dimensions`.
        interleaved: Whether a module that holds several parts keeps them head by head.

    Raises:
        ValueError: If the sizes do not fit; says which.
    """
    dims = {"V": _exact(width, n_heads, "the inputs of W_O", "heads")}
    together = [
        [part for part, _ in group] for _, group in groupby(held_by.items(), key=lambda item: item[1])
    ]
    if len(together) == 1:
        size = sizes[held_by["V"]]
        n_kv, odd = divmod(_exact(size, dims["V"], "the outputs of W_QKV", "dimensions a head") - n_heads, 2)
        if odd or n_kv < 0:
            raise ValueError(f"W_QKV has {size} outputs for {n_heads} heads of {dims['V']} dimensions")
        dims["Q"] = dims["K"] = dims["V"]
    else:
        fused = held_by["K"] == held_by["V"]
        n_kv = (
            n_heads
            if fused
            else _exact(sizes[held_by["V"]], dims["V"], "the outputs of W_V", "dimensions a head")
        )
        dims["Q"] = _exact(sizes[held_by["Q"]], n_heads, "the outputs of W_Q", "heads")
        dims["K"] = _exact(sizes[held_by["K"]], n_kv, "the outputs of W_K", "key heads") - fused * dims["V"]
    if n_kv:
        _exact(n_heads, n_kv, "the query heads", "key heads")
    counts = {"Q": n_heads, "K": n_kv, "V": n_kv}
    owned: dict[Part, tuple[range, ...]] = {}
    for parts in together:
        owned |= _interleaved(parts, counts, dims) if interleaved else _stacked(parts, counts, dims)
    return owned


def _stacked(
    parts: list[Part], counts: Mapping[Part, int], dims: Mapping[Part, int]
) -> dict[Part, tuple[range, ...]]:
    owned, at = {}, 0
    for part in parts:
        owned[part] = tuple(
            range(at + i * dims[part], at + (i + 1) * dims[part]) for i in range(counts[part])
        )
        at += counts[part] * dims[part]
    return owned


def _interleaved(
    parts: list[Part], counts: Mapping[Part, int], dims: Mapping[Part, int]
) -> dict[Part, tuple[range, ...]]:
    owned: dict[Part, list[range]] = {part: [] for part in parts}
    at = 0
    for _ in range(counts["V"]):
        for part in parts:
            for _ in range(counts[part] // counts["V"]):
                owned[part].append(range(at, at + dims[part]))
                at += dims[part]
    return {part: tuple(rows) for part, rows in owned.items()}


def _exact(size: int, parts: int, what: str, of: str) -> int:
    whole, rest = divmod(size, parts) if parts else (0, size)
    if rest:
        raise ValueError(f"{what} ({size}) cannot be shared by {parts} {of}")
    return whole
