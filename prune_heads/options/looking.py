# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""What is asked by those who look at heads: `look`, `roles`, `similar`, and the pairs of `ablate`."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prune_heads.errors import OptionError
from prune_heads.objectives import known_task
from prune_heads.options.fields import Group, ending, names, option
from prune_heads.options.setup import DEFAULT_MODEL, Device, WrittenModel

_compute = partial(option, panel="Computation")
_later = partial(option, since="later", reach="content")


@dataclass(frozen=True)
class Look(WrittenModel):
    """A text and a model; without one the built-in model of the task that takes one text, or two."""

    text: str = option(
        "The text, or its question, or the path of a picture.",
        MISSING,
        kw_only=True,
        is_argument=True,
        is_path=lambda text, folder: Path(text).suffix != "" and (folder / text).is_file(),
    )
    pair: str | None = option("The second text: a hypothesis, a context, or the target of a translation.")
    task: str = option(
        "Name of a task, see 'prune-heads tasks', or a TOML file. (default: as the model's head says; of the built-in "
        "models mini-sentiment, with --pair mini-inference)",
        "",
        read=partial(known_task, said="", error=OptionError),
        is_path=ending(".toml"),
        shown=lambda of: Path(of.task).name,
    )
    label_order: tuple[str, ...] | None = option("Labels, comma-separated, in the model's order.", read=names)
    heads: str | None = option(
        "Heads to show, counted from 1: '3:1,5 7:2'; or a heads.json. (default: the three that change most)",
        reach="content",
        is_path=ending(".json"),
    )
    weighted: bool = option(
        "Show attention times the length of what it moves (Kobayashi et al., 2020); records hold both.", False
    )
    max_length: int = _compute("Maximum number of tokens; a longer text is refused.", 128, low=4)
    device: Device = _compute("Where to compute.", "auto", reach="nothing")

    def __post_init__(self) -> None:
        if not self.task and self.model == DEFAULT_MODEL:
            object.__setattr__(self, "task", "mini-sentiment" if self.pair is None else "mini-inference")

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if not given.get("text"):
            yield "TEXT must be a text, or the path of a picture; got nothing"


@dataclass(frozen=True)
class RoleSources(Group):
    """On what roles are measured, and what they are compared with."""

    panel = "Roles"
    apart = ("parses", "conllu", "spacy")
    split: str | None = option("Split to look at. (default: the task's first validation split)", reach="content")
    parses: bool = option("Also measure syntactic roles, on the parses in the training file, as MNLI's has.", False)
    conllu: Path | None = option("Also measure syntactic roles, on the sentences of a CoNLL-U file.", reach="content")
    spacy: str | None = option(
        "Also measure syntactic roles, on the texts as this spaCy model parses them (needs spaCy and the model)."
    )
    against: tuple[Path, ...] = option(
        "Run to compare roles with: a folder of score, ablate or roles; repeatable.", (), reach="content"
    )
    seed: int = option("Seed of the random texts and of the bootstrap.", 0, low=0)


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


def _fractions(text: str) -> tuple[float, ...]:
    try:
        found = tuple(sorted({float(part) for part in names(text)}))
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
