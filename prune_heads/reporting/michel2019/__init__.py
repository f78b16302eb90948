"""The tables and figures of Michel, Levy and Neubig (2019), published numbers beside our own. From records alone.

`estimators` is beside them: a comparison that the paper does not make.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from prune_heads.reporting.michel2019.estimators import estimators
from prune_heads.reporting.michel2019.kept_alone import table3, table6
from prune_heads.reporting.michel2019.kinds import figure4
from prune_heads.reporting.michel2019.orders import figure3, figure6
from prune_heads.reporting.michel2019.over_epochs import figure5
from prune_heads.reporting.michel2019.shown import Record, Records, Shown
from prune_heads.reporting.michel2019.single_heads import figure1, figure2
from prune_heads.reporting.michel2019.speed import table4

__all__ = ["REPRODUCTIONS", "Record", "Records", "Reproduction", "Shown"]


class Reproduction(NamedTuple):
    """One row of the table."""

    studies: tuple[str, ...]
    """What must have been run."""
    show: Callable[[Records], Shown]
    several: bool = False
    """Whether it takes several subjects."""
    over_epochs: bool = False
    """Whether a subject stands for the checkpoints that its fine-tuning kept."""


REPRODUCTIONS: Mapping[str, Reproduction] = {
    "table3": Reproduction(("only-one",), table3),
    "table4": Reproduction(("bench",), table4),
    "table6": Reproduction(("only-one",), table6),
    "figure1": Reproduction(("without-one",), figure1),
    "figure2": Reproduction(("without-one",), figure2),
    "figure3": Reproduction(("orders",), figure3),
    "figure4": Reproduction(("curve-E", "curve-A", "curve-D"), figure4),
    "figure5": Reproduction(("curve",), figure5, several=True, over_epochs=True),
    "figure6": Reproduction(("curve",), figure6, several=True),
    "estimators": Reproduction(("estimators",), estimators, several=True),
}
"""Name of a table or figure -> how it is reproduced."""
