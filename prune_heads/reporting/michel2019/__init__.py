"""Tables and figures of Michel, Levy and Neubig (2019), their numbers beside ours; and `estimators`, not in theirs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from prune_heads.reporting.michel2019.curves import estimators, figure3, figure4, figure5, figure6, table4
from prune_heads.reporting.michel2019.heads import figure1, figure2, kept_alone, table1
from prune_heads.reporting.michel2019.shown import Records, Shown, is_translation


class Reproduction(NamedTuple):
    """One row of the table."""

    studies: tuple[str, ...]  # what must have been run
    show: Callable[[Records], Shown]
    several: bool = False  # whether it takes several subjects
    of_seeds: bool = False  # whether fine-tunings of one checkpoint are shown together, too
    over_epochs: bool = False  # whether a subject stands for the checkpoints that its fine-tuning kept
    translates: bool | None = None  # whether it is of translations alone, or of anything else; None for both
    n_splits: int = 1  # that it must be measured on, at least


REPRODUCTIONS: Mapping[str, Reproduction] = {
    "table1": Reproduction(("without-one",), table1, translates=True),
    "table2": Reproduction(("only-one",), partial(kept_alone, "table2"), translates=True),
    "table3": Reproduction(("only-one",), partial(kept_alone, "table3"), several=True, translates=False),
    "table4": Reproduction(("bench",), table4, translates=False),
    "table5": Reproduction(("only-one",), partial(kept_alone, "table5"), translates=True, n_splits=2),
    "table6": Reproduction(("only-one",), partial(kept_alone, "table6"), several=True, translates=False),
    "figure1": Reproduction(("without-one",), figure1, several=True),
    "figure2": Reproduction(("without-one",), figure2, several=True, n_splits=2),
    "figure3": Reproduction(("orders",), figure3, several=True),
    "figure4": Reproduction(("curve-E", "curve-A", "curve-D"), figure4),
    "figure5": Reproduction(("curve",), figure5, several=True, over_epochs=True),
    "figure6": Reproduction(("curve",), figure6, several=True, of_seeds=True),
    "estimators": Reproduction(("estimators",), estimators, several=True),
}
"""Name of a table or figure -> how it is reproduced."""
