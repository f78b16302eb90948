"""Which dimensions of its projections each head owns, from their sizes alone.

A module may hold one projection or several. Of those it holds, the order is W_Q, W_K, W_V; *stacked*, all heads of
one come before those of the next; *interleaved*, each key and value head follows its query heads.
"""

from collections.abc import Mapping


def owned_dimensions(
    held_by: Mapping[str, str], sizes: Mapping[str, int], n_heads: int, width: int, *, interleaved: bool
) -> dict[str, tuple[range, ...]]:
    """The dimensions of each head, for each of Q, K and V.

    Args:
        held_by: `Q`, `K`, `V` -> the module that holds it.
        sizes: Outputs of each module.
        n_heads: Query heads.
        width: Inputs of W_O, `n_heads * value dimensions`.
        interleaved: Whether a module that holds several parts keeps them head by head.

    Raises:
        ValueError: If the sizes do not fit; says which.
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
