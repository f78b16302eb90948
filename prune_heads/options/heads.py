"""How heads are scored, and which of them are pruned."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prune_heads.errors import OptionError
from prune_heads.options.choices import CRITERIA, ESTIMATORS, NORMALIZERS, Mode
from prune_heads.options.fields import Group, Say, json_file, of_file, option

SCORE, _CHOICE = "Scoring", "Which heads"

CRITERION = f"<{'|'.join(CRITERIA)}>"


ESTIMATOR = Say(
    "Estimator of the criterion 'gradient', see 'prune-heads criteria'.",
    panel=SCORE,
    choices=ESTIMATORS,
    applies=lambda group: "gradient" in (group.criterion, *group.criterion),
)
NORMALIZER = Say(
    "Normalisation of the scores: 'l2' within each layer, 'min-max' over all heads.", panel=SCORE, choices=NORMALIZERS
)
SEED = Say("Seed of the criterion 'random' and of the bootstrap.", panel=SCORE, low=0)


def criterion_name(text: str) -> str:
    """A criterion of the table, or a function of the user as `my_module:function` or `file.py:function`.

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

    criterion: str = option(
        "Criterion, see 'prune-heads criteria'; or your own, as module:function or file.py:function.",
        panel=SCORE,
        read=criterion_name,
        is_path=of_file,
        metavar=CRITERION,
        default="gradient",
    )
    estimator: str = option(ESTIMATOR, default="example")
    normalize: str = option(NORMALIZER, default="none")
    seed: int = option(SEED, default=0)
    score_split: str | None = option(
        "Split that heads are scored on. (default: the task's training split)", panel=SCORE
    )
    score_examples: int | None = option("Score on the first N examples only.", panel=SCORE, low=1)
    """None: as in the `Setup`."""


@dataclass(frozen=True)
class Choice(Group):
    """Which heads to prune: by exactly one of the first three; half of them where none is given."""

    fraction: float | None = option("Share of heads to prune. (default: 0.5)", panel=_CHOICE, low=0, high=1)
    n_heads: int | None = option("Number of heads to prune.", panel=_CHOICE, low=0)
    heads: str | None = option(
        "Heads to prune, counted from 1: '3:1,5 7:2'; or a heads.json.",
        "content",  # they stand in records by themselves, not by the file that names them
        _CHOICE,
        is_path=json_file,
    )
    min_per_layer: int = option("Minimum number of heads that every layer keeps.", panel=_CHOICE, low=0, default=0)
    groups: bool = option(
        "Prune heads that share keys and values as one group. Models with such groups need it for --mode remove.",
        panel=_CHOICE,
        since="sweeps",
        default=False,
    )

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

    mode: Mode = option("Set the weights of pruned heads to zero, or remove them.", default="zero")
    split: tuple[str, ...] = option(
        "Split to report on; repeatable. (default: the task's validation splits)", key="splits", default=()
    )
    curve: bool = option("Also measure the metric with 0, 10, ..., 100% of the heads pruned.", default=False)
