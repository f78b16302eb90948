"""Rows: the one form in which every source hands over a split, checked in one place."""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prune_heads.errors import DataError
from prune_heads.reading import is_encodable
from prune_heads.tasks.spec import TaskSpec
from prune_heads.visible import brief

Place = Callable[[int], str]
"""Row index from 0 -> where the user finds the row, e.g. `SST-2/dev.tsv line 2`."""


@dataclass(frozen=True)
class Rows:
    """All rows of one split, in file order, or the first of very many."""

    texts: Sequence[str]
    text_pairs: Sequence[str] | None
    labels: Sequence[int] | Sequence[float] | None
    """Indices into the task's labels, or scores in single precision as on the hub; None for texts alone."""
    source: str
    """Where they came from, for records: never an absolute path."""
    n_there: int | None = None
    """Rows that the source has, where more than these are known of."""
    left_out: tuple[str, ...] = ()
    """What is wrong with each row of the source that is no example and was to be left out."""

    def __len__(self) -> int:
        return len(self.texts)

    def of(self, n_there: int | None) -> "Rows":
        """The same as the first of so many; None where it is not known."""
        return replace(self, n_there=n_there)

    def first(self, n: int | None) -> "Rows":
        """The first `n` rows; all for None, or where there are fewer."""
        return self._taking(range(len(self))[:n])

    def sample(self, n: int, seed: int) -> "Rows":
        """`n` rows drawn without replacement, in file order; all where there are no more."""
        drawn = np.random.default_rng(seed).permutation(len(self))[:n]
        return self._taking(sorted(drawn.tolist()))

    def fingerprint(self, labels: Sequence[str] | None) -> str:
        """SHA-256 over label names, texts and labels: the same for the same rows from whatever source."""
        digest = hashlib.sha256(json.dumps(labels).encode())
        columns = [c for c in (self.texts, self.text_pairs, self.labels) if c is not None]
        for row in zip(*columns, strict=True):
            digest.update(json.dumps(row).encode())  # a JSON array ends unmistakably: no separator is needed
        return digest.hexdigest()

    def _taking(self, places: Sequence[int]) -> "Rows":
        pairs = None if self.text_pairs is None else [self.text_pairs[i] for i in places]
        labels = None if self.labels is None else [self.labels[i] for i in places]
        return replace(self, texts=[self.texts[i] for i in places], text_pairs=pairs, labels=labels)


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
    """Check raw columns and turn them into rows.

    Args:
        columns: One or two columns of texts, in the order of `spec.text_columns`.
        labels: Raw labels: keys of `codes`, or numbers, as text or not, for regression; None for texts alone.
        spec: The task.
        codes: How the source writes a label -> its index in `spec.labels`; unused for regression.
        place: Names a row for the user.
        source: For records.
        may_be_empty: Whether empty texts are known and let through.
        left_out: What is wrong with the rows that are left out already, to which others are added; None to refuse.

    Raises:
        DataError: No row; a text that is empty or not text; an unknown label; a score that is no number.
    """
    kept: list[tuple[tuple[str, ...], Any]] = []
    for i, texts in enumerate(zip(*columns, strict=True)):
        try:
            checked = tuple(_text(text, may_be_empty) for text in texts)
            label = (
                None
                if labels is None
                else _score(labels[i])
                if spec.is_regression
                else _index(labels[i], codes)
            )
            kept.append((checked, label))
        except ValueError as fault:
            said = f"{place(i)}: {fault}"
            if left_out is None:
                raise DataError(said) from None
            left_out.append(said)
    if not kept:
        why = f"; {len(left_out)} rows were left out, the first: {left_out[0]}" if left_out else ""
        raise DataError(f"{source}: at least one example must be there, got none{why}")
    firsts, lasts = [row[0] for row, _ in kept], [row[-1] for row, _ in kept]
    values = None if labels is None else [label for _, label in kept]
    return Rows(firsts, lasts if len(columns) == 2 else None, values, source, left_out=tuple(left_out or ()))


def _text(text: object, may_be_empty: bool) -> str:
    if not isinstance(text, str):
        raise ValueError(f"the text must be text, got {brief(text)}")
    if not may_be_empty and not text.strip():
        raise ValueError("the text must not be empty")
    if not is_encodable(text):
        raise ValueError(f"the text must be valid Unicode, got half a surrogate pair in {brief(text)}")
    return text


def _index(label: object, codes: Mapping[str, int]) -> int:
    if not isinstance(label, str) or label not in codes:
        raise ValueError(f"the label must be one of {', '.join(codes)}, got {brief(label)}")
    return codes[label]


def _score(label: object) -> float:
    try:
        # Through single precision, which the hub stores: else the same file would give two fingerprints.
        (score,) = struct.unpack("<f", struct.pack("<f", float(label)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"the score must be a finite number, got {brief(label)}")
    return float(score)
