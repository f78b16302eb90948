# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""What is asked of heads beside others: which pairs are closed together, how they are compared, and their roles."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

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


@dataclass(frozen=True)
class RoleSources(Group):
    """On what roles are measured, and what they are compared with."""

    panel = "Roles"
    split: str | None = option(
        "Split whose texts are looked at. (default: the task's first validation split)", reach="content"
    )
    parses: bool = option("Also measure syntactic roles, on the parses in the training file, as MNLI's has.", False)
    conllu: Path | None = option("Also measure syntactic roles, on the sentences of a CoNLL-U file.", reach="content")
    spacy: str | None = option(
        "Also measure syntactic roles, on the texts as this spaCy model parses them (needs spaCy and the model)."
    )
    against: tuple[Path, ...] = option(
        "Run to compare roles with: a folder of score, ablate or roles; repeatable.", (), reach="content"
    )
    seed: int = option("Seed of the random texts and of the bootstrap.", 0, low=0)

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        named = [f"--{name}" for name in ("parses", "conllu", "spacy") if given.get(name)]
        if len(named) > 1:
            yield f"{' and '.join(named)} exclude each other"
