# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""What is asked of two heads: which pairs are closed together, and how heads are compared."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from prune_heads.options.fields import Group, ending, names, option

_later = partial(option, since="later", reach="content")


@dataclass(frozen=True)
class Pairs(Group):
    """Which pairs of heads are closed together; all pairs of each layer where nothing is said."""

    panel = "Pairs of heads (--kind pairs)"
    apart = ("heads", "nearest")
    heads: str | None = _later(
        "Heads of which all pairs are closed, counted from 1: '3:1,5 7:2'; or a heads.json. (default: the pairs of "
        "each layer)",
        is_path=ending(".json"),
    )
    nearest: Path | None = _later("Folder of 'similar --output', whose nearest pairs of different layers are closed.")


@dataclass(frozen=True)
class Similarity(Group):
    """How heads are compared, and with what that is compared."""

    panel = "Similarity"
    apart = ("pairs", "nearest")
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
