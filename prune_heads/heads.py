"""Heads as values: which heads are pruned (`HeadMask`), how important each is (`HeadScores`).

Both are ragged by attention block, since layers may have different numbers of heads. People read and write
heads from 1, as the paper does (`3:1,5` is layer 3, heads 1 and 5); Python indices start at 0.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prune_heads.descriptors import Head, HeadCounts, parse_heads
from prune_heads.errors import HeadDescriptorError, NotFiniteError

NUMBERING = "layers and heads from 1"  # said in every file that names heads


@dataclass(frozen=True)
class HeadMask:
    """The set of pruned heads of a model whose attention blocks have `n_heads` heads each.

    Supports `|`, `&`, `-`, `^`, `~` (the heads that are kept), `<=`, `in`, `len` and iteration in order.
    """

    n_heads: HeadCounts
    """Heads per attention block before any pruning; a plain tuple is taken for a model of one kind of block."""
    pruned: frozenset[Head] = frozenset()  # (block, head) of each pruned head, from 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_heads", HeadCounts.of(self.n_heads))
        object.__setattr__(self, "pruned", frozenset((int(b), int(h)) for b, h in self.pruned))
        for block, head in self:
            if not 0 <= block < len(self.n_heads):
                raise HeadDescriptorError(f"block index must be between 0 and {len(self.n_heads) - 1}; got {block}")
            if not 0 <= head < self.n_heads[block]:
                most = self.n_heads[block] - 1
                raise HeadDescriptorError(f"head index must be between 0 and {most} in block {block}; got {head}")

    @classmethod
    def parse(cls, text: str, n_heads: Sequence[int]) -> "HeadMask":
        """Read the paper's text form, `"3:1,5 7:2"` or `"E:3:1,5 D:2:4"` (from 1). The empty string prunes nothing.

        Raises:
            HeadDescriptorError: Naming the first wrong character, from 1.
        """
        counts = HeadCounts.of(n_heads)
        return cls(counts, frozenset(parse_heads(text, counts)))

    @classmethod
    def from_mapping(cls, heads: Mapping[int, Iterable[int]], n_heads: Sequence[int]) -> "HeadMask":
        """From block index -> head indices, both from 0."""
        return cls(HeadCounts.of(n_heads), frozenset((block, head) for block, row in heads.items() for head in row))

    @classmethod
    def all(cls, n_heads: Sequence[int]) -> "HeadMask":
        """Every head pruned."""
        return cls(HeadCounts.of(n_heads), frozenset((b, h) for b, n in enumerate(n_heads) for h in range(n)))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "HeadMask":
        """The inverse of `to_json`.

        Raises:
            HeadDescriptorError: If a key is missing or of the wrong type.
        """
        match value:
            case {"n_heads": [*counts], "heads_pruned": [*heads]} if isinstance(value.get("letters", ""), str):
                if all(isinstance(n, int) for n in counts) and all(isinstance(text, str) for text in heads):
                    return cls.parse(" ".join(heads), HeadCounts(counts, value.get("letters", "")))
        must = "must have 'n_heads' (list of integers) and 'heads_pruned' (list of descriptors such as '3:1,5')"
        raise HeadDescriptorError(f"a head mask in JSON {must}; got {dict(value)!r:.200}")

    def to_json(self) -> dict[str, Any]:
        """`{"numbering": ..., "n_heads": [...], "heads_pruned": ["3:1,5", "7:2"]}`; descriptors count from 1.

        With `"letters": "EEAADD"` where there are several kinds of blocks.
        """
        letters = {"letters": self.n_heads.letters} if self.n_heads.letters else {}
        return {"numbering": NUMBERING, **letters, "n_heads": list(self.n_heads), "heads_pruned": self.descriptors()}

    def descriptors(self) -> list[str]:
        """One descriptor a block that loses heads, e.g. `["3:1,5", "7:2"]` or `["E:3:1,5"]`, from 1."""
        rows = zip(self.n_heads.names(), self.by_block(), strict=True)
        return [f"{name}:{','.join(str(head + 1) for head in heads)}" for name, heads in rows if heads]

    def __str__(self) -> str:
        return " ".join(self.descriptors())

    def by_block(self) -> list[tuple[int, ...]]:
        """Pruned head indices of each block, sorted, from 0."""
        return [tuple(np.flatnonzero(~keep).tolist()) for keep in self.keep()]

    def keep(self) -> list[NDArray[np.bool_]]:
        """One array `(n_heads,)` a block: True where the head is kept."""
        arrays = [np.ones(n, dtype=bool) for n in self.n_heads]
        for block, head in self.pruned:
            arrays[block][head] = False
        return arrays

    @property
    def n_total(self) -> int:
        """Heads in all, pruned or not."""
        return sum(self.n_heads)

    def __len__(self) -> int:
        return len(self.pruned)

    def __iter__(self) -> Iterator[Head]:
        return iter(sorted(self.pruned))

    def __contains__(self, head: object) -> bool:
        return head in self.pruned

    def with_whole(self, units: Iterable[frozenset[Head]]) -> "HeadMask":
        """The mask and all of each unit of which it has a head."""
        return HeadMask(self.n_heads, self.pruned.union(*(unit for unit in units if unit & self.pruned)))

    def __or__(self, other: "HeadMask") -> "HeadMask":
        return HeadMask(self._shared(other), self.pruned | other.pruned)

    def __and__(self, other: "HeadMask") -> "HeadMask":
        return HeadMask(self._shared(other), self.pruned & other.pruned)

    def __sub__(self, other: "HeadMask") -> "HeadMask":
        return HeadMask(self._shared(other), self.pruned - other.pruned)

    def __xor__(self, other: "HeadMask") -> "HeadMask":
        return HeadMask(self._shared(other), self.pruned ^ other.pruned)

    def __le__(self, other: "HeadMask") -> bool:
        self._shared(other)
        return self.pruned <= other.pruned

    def __invert__(self) -> "HeadMask":
        return HeadMask.all(self.n_heads) - self

    def _shared(self, other: "HeadMask") -> HeadCounts:
        """The shape of both masks."""
        if self.n_heads != other.n_heads:
            got = f"got {list(self.n_heads)} and {list(other.n_heads)} heads a block"
            raise HeadDescriptorError(f"two head masks must be of the same model to be combined; {got}")
        return self.n_heads if self.n_heads.letters else other.n_heads


Heads = HeadMask | str | Sequence[str] | Mapping[int, Iterable[int]]
"""What functions that take heads accept: a mask, one or several descriptors (from 1), or block -> heads (from 0)."""


def as_mask(heads: Heads, n_heads: Sequence[int]) -> HeadMask:
    """`heads` as a `HeadMask` of a model with these `n_heads` per block.

    Raises:
        HeadDescriptorError: If it cannot be read, or belongs to a model of another shape.
    """
    if isinstance(heads, HeadMask):
        return HeadMask(HeadCounts.of(n_heads)) | heads
    try:
        if not isinstance(heads, Mapping):
            return HeadMask.parse(heads if isinstance(heads, str) else " ".join(heads), n_heads)
        return HeadMask.from_mapping(heads, n_heads)
    except HeadDescriptorError:
        raise
    except (TypeError, ValueError):
        must = "heads must be a HeadMask, a descriptor such as '3:1,5', a list of them, or a mapping like {2: [0, 4]}"
        raise HeadDescriptorError(f"{must}; got {heads!r:.80}") from None


@dataclass(frozen=True, eq=False)
class HeadScores:
    """One number a head; higher = more important, for every criterion. Heads are numbered as before any removal."""

    values: tuple[NDArray[np.float64], ...]  # one array `(n_heads,)` an attention block; 0 for heads that are gone
    standard_error: tuple[NDArray[np.float64], ...] | None = None
    """Same shapes; None where a criterion has no sampling error, or it is undefined, as of one example."""
    gone: HeadMask = None  # type: ignore[assignment] # None is taken for no head
    """Heads that the model has lost before: they count as pruned."""

    def __post_init__(self) -> None:
        for name in ("values", "standard_error"):
            if (rows := getattr(self, name)) is not None:
                arrays = tuple(np.asarray(row, dtype=np.float64) for row in rows)
                if any(array.ndim != 1 for array in arrays):
                    raise ValueError("scores must have one row of numbers a block")
                object.__setattr__(self, name, arrays)
        if self.standard_error is not None and list(map(len, self.standard_error)) != list(map(len, self.values)):
            raise ValueError("standard_error must have the shape of values")
        shape = HeadMask(HeadCounts(len(row) for row in self.values))
        object.__setattr__(self, "gone", shape if self.gone is None else shape | self.gone)

    @property
    def n_heads(self) -> HeadCounts:
        """Heads per attention block before any removal."""
        return self.gone.n_heads

    def flat(self) -> NDArray[np.float64]:
        """All scores, `(total heads,)`, block after block."""
        return np.concatenate([*self.values, np.zeros(0)])

    def check_finite(self, what: str, cure: str = "", error: type[Exception] = NotFiniteError) -> Self:
        """Itself; an `error` names the first head whose score, which gives its place, or its error is not finite."""
        for must, rows in (("be finite to be put in order", self.values), ("have finite errors", self.standard_error)):
            if bad := [head for head in ~self.gone if rows and not np.isfinite(rows[head[0]][head[1]])]:
                first = HeadMask(self.n_heads, frozenset(bad[:1]))
                raise error(f"{what} must {must}; that of head {first} is not{cure}")
        return self

    @classmethod
    def from_flat(cls, flat: ArrayLike, n_heads: Sequence[int], standard_error: ArrayLike | None = None) -> Self:
        """The inverse of `flat`: split `(total heads,)` into blocks."""
        return cls.of_the_rest(flat, HeadMask(HeadCounts.of(n_heads)), standard_error)

    @classmethod
    def of_the_rest(cls, flat: ArrayLike, gone: HeadMask, standard_error: ArrayLike | None = None) -> Self:
        """From one number for each head that is not gone, in order; those that are gone get 0."""

        def rows(numbers: ArrayLike) -> tuple[NDArray[np.float64], ...]:
            every = np.zeros(gone.n_total)
            every[np.concatenate([*gone.keep(), np.zeros(0, dtype=bool)])] = numbers
            return tuple(np.split(every, np.cumsum(gone.n_heads)[:-1]))

        return cls(rows(flat), None if standard_error is None else rows(standard_error), gone)

    def to_json(self) -> dict[str, Any]:
        """`{"scores": [[...], ...], "standard_error": [[...], ...] or null}`, one row a block.

        With `"gone"`, a mask, where heads are gone or there are several kinds of blocks.
        """
        errors = None if self.standard_error is None else [row.tolist() for row in self.standard_error]
        gone = {"gone": self.gone.to_json()} if self.gone or self.n_heads.letters else {}
        return {"scores": [row.tolist() for row in self.values], "standard_error": errors, **gone}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            HeadDescriptorError: If the heads that are gone cannot be read, or are of another model.
            ValueError: If the rows are not lists of numbers, or the two do not fit together.
        """
        errors, gone = value.get("standard_error"), value.get("gone")
        return cls(
            tuple(value["scores"]),
            None if errors is None else tuple(errors),
            HeadMask.from_json(gone) if gone else None,  # type: ignore[arg-type]
        )
