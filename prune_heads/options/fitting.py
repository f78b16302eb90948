# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""How few heads are enough: what may be lost, what is to be saved, and on which examples that is chosen and shown."""

from dataclasses import dataclass
from typing import Literal

from prune_heads.options.fields import Group, option
from prune_heads.options.scoring import A_CRITERION, Scoring, criterion_option, seed_option
from prune_heads.options.studies import Mode, mode_option

Budget = Literal["heads", "parameters", "multiply-adds", "milliseconds"]  # what is to be saved
Units = Literal["heads", "groups", "layers"]  # what goes as a whole


@dataclass(frozen=True)
class Fitting(Group):
    """How heads are found that can go, and how it is shown that little is lost without them."""

    panel = "Fitting"
    max_loss: float = option("Loss of the metric that is too much: 0.01 is a point.", 0.01, low=0.0001, high=0.5)
    confidence: float = option("Confidence with which less is shown to be lost.", 0.95, low=0.5, high=0.9999)
    budget: Budget = option("What is to be saved; milliseconds are measured here, of removed heads.", "heads")
    units: Units = option("What goes as a whole: a head, heads that share keys and values, or a layer.", "heads")
    mode: Mode = mode_option()
    rescale: bool = option(
        "Rescale the kept heads of each candidate by least squares, on up to 512 of the examples heads are scored on.",
        False,
        since="later",
    )
    criterion: tuple[str, ...] = criterion_option(
        f"{A_CRITERION}; repeatable: the one that saves most is taken. (default: gradient)",
        ("gradient",),
        key="criteria",
        is_many=True,
    )
    exchange: int = option("Number of masks that the exchange of heads for others may measure; 0: none.", 500, low=0)
    candidates: int = option("Number of candidates that are tested, at most.", 10, low=1)
    train_examples: int = option(
        "Number of training examples, at most: half to score heads on, half to choose them on.", 4000, low=2
    )
    test_split: str | None = option(
        "Split for the test, on which nothing was chosen. (default: the task's first validation split)"
    )
    seed: int = seed_option()

    def by(self, criterion: str) -> Scoring:
        """How one of the criteria scores."""
        return Scoring(criterion, seed=self.seed)
