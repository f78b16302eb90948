"""How heads are scored, and which of them are pruned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from prune_heads.errors import OptionError
from prune_heads.options.choices import CRITERIA, ESTIMATORS, NORMALIZERS, Mode
from prune_heads.options.fields import Group, Say
from prune_heads.options.places import json_file, of_file

SCORE, _CHOICE = "Scoring", "Which heads"

CRITERION = f"<{'|'.join(CRITERIA)}>"


Estimator = Annotated[
    str,
    Say(
        "Estimator of the criterion 'gradient', see 'prune-heads criteria'.",
        panel=SCORE,
        choices=ESTIMATORS,
        applies=lambda group: "gradient" in (group.criterion, *group.criterion),
    ),
]
Normalizer = Annotated[
    str,
    Say(
        "Normalisation of the scores within each layer or over all of them.", panel=SCORE, choices=NORMALIZERS
    ),
]
Seed = Annotated[int, Say("Seed of the criterion 'random' and of the bootstrap.", panel=SCORE, low=0)]


def criterion_name(text: str) -> str:
    """A criterion of the table, or one of one's own as `my_module:function` or `file.py:function`.

    Raises:
        OptionError: If it is neither.
    """
    if text not in CRITERIA and ":" not in text:
        raise OptionError(
            f"{text!r} is not one of {', '.join(map(repr, CRITERIA))}, nor your own as module:function or "
            "file.py:function"
        )
    return text


@dataclass(frozen=True)
class Scoring(Group):
    """How heads are scored."""

    criterion: Annotated[
        str,
        Say(
            "Criterion, see 'prune-heads criteria'; or your own, as module:function or file.py:function.",
            panel=SCORE,
            read=criterion_name,
            is_path=of_file,
            metavar=CRITERION,
        ),
    ] = "gradient"
    estimator: Estimator = "example"
    normalize: Normalizer = "none"
    seed: Seed = 0
    score_split: Annotated[
        str | None, Say("Split that heads are scored on. (default: the task's training split)", panel=SCORE)
    ] = None
    score_examples: Annotated[int | None, Say("Score on the first N examples only.", panel=SCORE, low=1)] = (
        None
    )
    """None: as in the `Setup`."""


@dataclass(frozen=True)
class Choice(Group):
    """Which heads to prune: by exactly one of the first three; half of them where none is given."""

    fraction: Annotated[
        float | None, Say("Share of heads to prune. (default: 0.5)", panel=_CHOICE, low=0, high=1)
    ] = None
    n_heads: Annotated[int | None, Say("Number of heads to prune.", panel=_CHOICE, low=0)] = None
    heads: Annotated[
        str | None,
        Say(
            "Heads to prune, counted from 1: '3:1,5 7:2'; or a heads.json.",
            "content",  # they stand in records by themselves, not by the file that names them
            _CHOICE,
            is_path=json_file,
        ),
    ] = None
    min_per_layer: Annotated[
        int, Say("Number of heads that every layer keeps at least.", panel=_CHOICE, low=0)
    ] = 0
    groups: Annotated[
        bool,
        Say(
            "Prune heads that share keys and values as one group. Models with such groups need it for --mode remove.",
            panel=_CHOICE,
            since="sweeps",
        ),
    ] = False

    def __post_init__(self) -> None:
        if (self.fraction, self.n_heads, self.heads) == (None, None, None):
            object.__setattr__(self, "fraction", 0.5)

    @property
    def needs_scores(self) -> bool:
        """Whether heads are chosen by their scores."""
        return self.heads is None

    @classmethod
    def clash(cls, given: Mapping[str, Any]) -> str | None:
        """Two ways to choose at once."""
        ways = [f"--{name.replace('_', '-')}" for name in ("fraction", "n_heads", "heads") if name in given]
        return f"{' and '.join(ways)} exclude each other" if len(ways) > 1 else None


@dataclass(frozen=True)
class RunOptions(Group):
    """What a run does beside choosing heads."""

    mode: Annotated[Mode, Say("Set the weights of pruned heads to zero, or remove them.")] = "zero"
    split: Annotated[
        tuple[str, ...],
        Say(
            "Split to report on; repeatable. (default: the task's validation splits)",
            key="splits",
        ),
    ] = ()
    curve: Annotated[bool, Say("Also measure the metric with 0, 10, ..., 100% of the heads pruned.")] = False
