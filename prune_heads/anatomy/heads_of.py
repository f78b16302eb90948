"""Which dimensions of its projections each head owns, from their sizes alone.

A module may hold one projection or several. Of those it holds, the order is W_Q, W_K, W_V; *stacked*, all heads of
one come before those of the next; *interleaved*, each key and value head follows its query heads.
"""

from collections.abc import Mapping
from itertools import accumulate, groupby, pairwise

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
    together = [[part for part, _ in group] for _, group in groupby(held_by.items(), key=lambda item: item[1])]
    if len(together) == 1:
        size = sizes[held_by["V"]]
        n_kv, odd = divmod(_exact(size, dims["V"], "the outputs of W_QKV", "dimensions a head") - n_heads, 2)
        if odd or n_kv < 0:
            raise ValueError(f"W_QKV has {size} outputs for {n_heads} heads of {dims['V']} dimensions")
        dims["Q"] = dims["K"] = dims["V"]
    else:
        fused = held_by["K"] == held_by["V"]
        n_kv = n_heads if fused else _exact(sizes[held_by["V"]], dims["V"], "the outputs of W_V", "dimensions a head")
        dims["Q"] = _exact(sizes[held_by["Q"]], n_heads, "the outputs of W_Q", "heads")
        dims["K"] = _exact(sizes[held_by["K"]], n_kv, "the outputs of W_K", "key heads") - fused * dims["V"]
    if n_kv:
        _exact(n_heads, n_kv, "the query heads", "key heads")
    counts = {"Q": n_heads, "K": n_kv, "V": n_kv}
    owned: dict[Part, list[range]] = {part: [] for part in held_by}
    rounds = n_kv if interleaved else 1
    for parts in together:
        order = [part for _ in range(rounds) for part in parts for _ in range(counts[part] // rounds)]
        edges = accumulate((dims[part] for part in order), initial=0)
        for part, (start, end) in zip(order, pairwise(edges), strict=True):
            owned[part].append(range(start, end))
    return {part: tuple(rows) for part, rows in owned.items()}


def _exact(size: int, parts: int, what: str, of: str) -> int:
    whole, rest = divmod(size, parts) if parts else (0, size)
    if rest:
        raise ValueError(f"{what} ({size}) cannot be shared by {parts} {of}")
    return whole
