"""Rows: the one form in which every source hands over a split, checked in one place."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np

from prune_heads.errors import DataError
from prune_heads.objectives import serving
from prune_heads.tasks.spec import TaskSpec

Place = Callable[[int], str]
"""Row index from 0 -> where the user finds the row, e.g. `SST-2/dev.tsv line 2`."""


@dataclass(frozen=True)
class Rows:
    """All rows of one split, in file order, or the first of very many."""

    columns: Mapping[str, Sequence[Any]]
    """The objective's inputs by name, such as `text` and `text_pair`, and last `label`, where there are labels."""
    source: str
    """Where they came from, for records: never an absolute path."""
    n_there: int | None = None
    """Rows that the source has, where more than these are known of."""
    left_out: tuple[str, ...] = ()
    """What is wrong with each row of the source that is no example and was to be left out."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def of(self, n_there: int | None) -> "Rows":
        """The same as the first of so many; None where it is not known."""
        return replace(self, n_there=n_there)

    def first(self, n: int | None) -> "Rows":
        """The first `n` rows; all for None, or where there are fewer."""
        return self.at(range(len(self))[:n])

    def sample(self, n: int, seed: int) -> "Rows":
        """`n` rows drawn without replacement, in file order; all where there are no more."""
        drawn = np.random.default_rng(seed).permutation(len(self))[:n]
        return self.at(sorted(drawn.tolist()))

    def at(self, places: Sequence[int]) -> "Rows":
        """The rows at these places alone."""
        return replace(self, columns={name: [c[i] for i in places] for name, c in self.columns.items()})

    def fingerprint(self, labels: Sequence[str] | None) -> str:
        """SHA-256 over label names, texts and labels: the same for the same rows from whatever source.

        A cell that JSON does not hold, such as an image, has a `fingerprint`.
        """
        digest = hashlib.sha256(json.dumps(labels).encode())
        for row in zip(*self.columns.values(), strict=True):
            digest.update(
                json.dumps(row, default=attrgetter("fingerprint")).encode()
            )  # a JSON array ends unmistakably: no separator is needed
        return digest.hexdigest()


def assemble(
    columns: Sequence[Sequence[object]],
    labels: Sequence[object] | None,
    *,
    spec: TaskSpec,
    codes: Mapping[str, int],
    place: Place,
    source: str,
    may_be_empty: bool = False,
    left_out: list[str] | None = None,
) -> Rows:
    """Check raw columns, as the task's objective says, and turn them into rows.

    Args:
        columns: What the model is given, in the order of `spec.text_columns`.
        labels: Raw labels, such as keys of `codes`; None where there are none.
        spec: The task.
        codes: How the source writes a label -> its index in `spec.labels`.
        place: Names a row for the user.
        source: For records.
        may_be_empty: Whether empty texts are known and let through.
        left_out: What is wrong with the rows that are left out already, to which others are added; None to refuse.

    Raises:
        DataError: No row; a text that is empty or not text; an unknown label; a score that is no number.
    """
    objective = serving(spec)[0]
    kept: list[tuple[Any, ...]] = []
    for i, given in enumerate(zip(*columns, strict=True)):
        try:
            row = tuple(objective.input_of(value, may_be_empty=may_be_empty) for value in given)
            row += () if labels is None else (objective.label_of(labels[i], codes),)
            objective.check_row(row)
            kept.append(row)
        except ValueError as fault:
            said = f"{place(i)}: {fault}"
            if left_out is None:
                raise DataError(said) from None
            left_out.append(said)
    if not kept:
        why = f"; {len(left_out)} rows were left out, the first: {left_out[0]}" if left_out else ""
        raise DataError(f"{source}: at least one example must be there, got none{why}")
    names = [*objective.inputs[: len(columns)], *([] if labels is None else ["label"])]
    made = dict(zip(names, map(list, zip(*kept, strict=True)), strict=True))
    return Rows(made, source, left_out=tuple(left_out or ()))
