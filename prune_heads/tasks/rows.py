"""Rows: the one form in which every source hands over a split, checked in one place."""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prune_heads.errors import DataError
from prune_heads.tasks.spec import TaskSpec

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
        return Rows([self.texts[i] for i in places], pairs, labels, self.source, self.n_there)


def assemble(
    columns: Sequence[Sequence[object]],
    labels: Sequence[object] | None,
    *,
    spec: TaskSpec,
    codes: Mapping[str, int],
    place: Place,
    source: str,
    may_be_empty: bool = False,
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

    Raises:
        DataError: No row; a text that is empty or not text; an unknown label; a score that is no number.
    """
    if not columns[0]:
        raise DataError(f"{source}: at least one example must be there, got none")
    texts = [_texts(column, place, may_be_empty) for column in columns]
    values: Sequence[int] | Sequence[float] | None = None
    if labels is not None:
        values = _scores(labels, place) if spec.is_regression else _indices(labels, codes, place)
    return Rows(texts[0], texts[1] if len(texts) == 2 else None, values, source)


def _texts(column: Sequence[object], place: Place, may_be_empty: bool) -> list[str]:
    texts = []
    for i, text in enumerate(column):
        if not isinstance(text, str):
            raise DataError(f"{place(i)}: the text must be text, got {text!r}")
        if not may_be_empty and not text.strip():
            raise DataError(f"{place(i)}: the text must not be empty")
        texts.append(text)
    return texts


def _indices(labels: Sequence[object], codes: Mapping[str, int], place: Place) -> list[int]:
    try:
        return [codes[label] for label in labels]  # type: ignore[index]
    except (KeyError, TypeError):
        i, label = next((i, label) for i, label in enumerate(labels) if label not in list(codes))
        raise DataError(f"{place(i)}: the label must be one of {', '.join(codes)}, got {label!r}") from None


def _scores(labels: Sequence[object], place: Place) -> list[float]:
    scores = []
    for i, label in enumerate(labels):
        try:
            # Through single precision, which the hub stores: else the same file would give two fingerprints.
            (score,) = struct.unpack("<f", struct.pack("<f", float(label)))  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            score = math.nan
        if not math.isfinite(score):
            raise DataError(f"{place(i)}: the score must be a finite number, got {label!r}")
        scores.append(score)
    return scores
