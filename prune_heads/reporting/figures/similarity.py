"""Pairs of heads in figures."""

from typing import TYPE_CHECKING

import numpy as np

from prune_heads.reporting.figures import drawing
from prune_heads.reporting.words import Record, subject_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_NAMED = 5  # pairs that are named, those that interact most


def pairs_figure(record: Record) -> "Figure":
    """The interaction of each pair against the smaller of its heads' own losses, a panel a split; a point is a pair.

    Bars are 95% intervals. Pairs above zero stand in for each other: far left, each looks useless alone. Pairs that
    interact after Holm's correction are filled.
    """
    tables = record["pairs"]
    with drawing(5.2 * len(tables), 4.6, len(tables), len(tables)) as (figure, panels):
        for axes, table in zip(panels, tables, strict=True):
            rows = sorted(table["rows"], key=lambda row: -abs(row["interaction"]))
            x, y, low, high = np.array(
                [
                    (min(row["first_loss"], row["second_loss"]), row["interaction"], row["low"], row["high"])
                    for row in rows
                ]
            ).T
            found = np.array([row["p_holm"] < table["alpha"] for row in rows])
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.vlines(x, low, high, color="0.75", linewidth=0.8, zorder=0)
            axes.plot(x[~found], y[~found], "o", color="#31688e", markerfacecolor="white", markersize=4)
            axes.plot(x[found], y[found], "o", color="#d1495b", markersize=4.5)
            for row, across, up in list(zip(rows, x, y, strict=True))[:_N_NAMED]:
                name = f"{row['first']} {row['second']}"
                axes.annotate(name, (across, up), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
            axes.set(xlabel="smaller loss of the two heads alone (nats an example)", ylabel="interaction (nats)")
            axes.set_title(f"{table['split']}, {table['n_examples']:,} examples", fontsize=10)
            axes.margins(0.12)
        figure.suptitle(f"{subject_of(record)}: pairs of heads", fontsize=11)
        figure.supxlabel("filled: after Holm's correction; above 0 they stand in for each other", fontsize=8)
    return figure
