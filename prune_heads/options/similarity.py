# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""What is asked of two heads: which pairs are closed together, and how heads are compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prune_heads.options.fields import Group, ending, option

_later = partial(option, since="later", reach="content")


@dataclass(frozen=True)
class Pairs(Group):
    """Which pairs of heads are closed together; all pairs of each layer where nothing is said."""

    panel = "Pairs of heads (--kind pairs)"
    heads: str | None = _later(
        "Heads of which all pairs are closed, counted from 1: '3:1,5 7:2'; or a heads.json. (default: the pairs of "
        "each layer)",
        is_path=ending(".json"),
    )
    nearest: Path | None = _later("Folder of 'similar --output', whose nearest pairs of different layers are closed.")

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if {"heads", "nearest"} <= given.keys():
            yield "--heads and --nearest exclude each other"
