# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""What is asked of two heads: which pairs are closed together, and how heads are compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prune_heads.errors import OptionError
from prune_heads.options.fields import Group, ending, names, option

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


def _fractions(text: str) -> tuple[float, ...]:
    parts = names(text)
    try:
        found = tuple(sorted({float(part) for part in parts}))
    except ValueError:
        found = ()
    if not found or not all(0 < each < 1 for each in found):
        raise OptionError(f"must be shares between 0 and 1, comma-separated, e.g. 0.1,0.3,0.5; got {text!r}")
    return found


@dataclass(frozen=True)
class RandomMasks(Group):
    """How many random masks are measured, and how many heads they close."""

    panel = "Random masks (--kind random)"
    masks: int | None = option("Number of masks of each fraction. (default: 300)", low=4, since="later")
    fraction: tuple[float, ...] | None = option(
        "Shares of heads that a mask closes, comma-separated. (default: 0.1,0.3,0.5)", read=_fractions, since="later"
    )


@dataclass(frozen=True)
class Similarity(Group):
    """How heads are compared, and with what that is compared."""

    panel = "Similarity"
    split: str | None = option("Split to look at. (default: the task's first validation split)", reach="content")
    blocks: tuple[str, ...] | None = option("Layers to take heads of: 1,3, from 1. (default: all)", read=names)
    by: Literal["maps", "outputs"] = option(
        "What partners, clusters and the map go by: attention maps (Jensen-Shannon) or outputs (CKA).", "maps"
    )
    clusters: int = option("Number of clusters.", 8, low=1)
    pairs: Path | None = option(
        "Folder of 'ablate --kind pairs --output': does similarity predict its interactions? (default: not asked)",
        reach="content",
    )
    nearest: int | None = option(
        "Close the N nearest pairs of different layers, and N others drawn at random, to see the same.", low=2
    )
    seed: int = option("Seed of the draw and of the bootstrap.", 0, low=0)

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if {"pairs", "nearest"} <= given.keys():
            yield "--pairs and --nearest exclude each other"
