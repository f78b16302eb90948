"""Estimators of importance against each other: a grid of correlations a subject."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prune_heads.reporting.figures.style import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_DARK = 0.65
"""From which absolute correlation on a cell is so dark that its number is white."""


def agreement_figure(records: Sequence[Mapping[str, Any]]) -> "Figure":
    """Spearman's correlation of the scores of each two estimators; a cell is empty where it is undefined."""
    n_columns = min(_COLUMNS, len(records))
    n_rows = -(-len(records) // n_columns)
    with canvas(1.2 + 2.9 * n_columns, 0.9 + 2.9 * n_rows) as figure:
        every = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
        for axes in every[len(records) :]:
            axes.set_visible(False)
        for axes, record in zip(every, records, strict=False):
            axes.set_title(f"{record['model']['name'].rpartition('/')[2]} on {record['task']}", fontsize=9)
            names = [line["estimator"] for line in record["lines"]]
            grid = np.eye(len(names))
            for pair in record["pairs"]:
                i, j = names.index(pair["first"]), names.index(pair["second"])
                value = pair["spearman"]["value"]
                grid[i, j] = grid[j, i] = np.nan if value is None else value
            axes.set_facecolor("0.85")
            image = axes.imshow(grid, cmap="RdBu", vmin=-1, vmax=1)
            for (i, j), value in np.ndenumerate(grid):
                if not np.isnan(value):
                    colour = "white" if abs(value) > _DARK else "black"
                    axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(len(names)), names)
            axes.tick_params(length=0, labelsize=8)
            axes.spines[:].set_visible(False)
        figure.colorbar(
            image, ax=every[: len(records)], label="Spearman's correlation of the scores", shrink=0.8
        )
    return figure
