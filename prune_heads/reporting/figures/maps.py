"""Heat maps: of scores, and of how the estimators of importance agree."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.figures.style import canvas, grid_of, grid_of_panels, heads_map
from prune_heads.reporting.words import layer_names, whose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_DARK = 0.65
"""From which absolute correlation on a cell is so dark that its number is white."""


def heat_map(report: Mapping[str, Any], pruned: Sequence[str] = ()) -> "Figure":
    """Scores, one row a layer, one column a head; a cross on each pruned head.

    Args:
        report: What `prune-heads score --json` prints.
        pruned: Descriptors of pruned heads, from 1.
    """
    grid = grid_of(report["scores"])
    height, width = grid.shape
    with canvas(1.9 + 0.42 * width, 1.3 + 0.42 * height) as figure:
        axes = figure.add_subplot()
        image = heads_map(axes, grid, layer_names(report), cmap="viridis")
        axes.set_title(_score_title(report))
        figure.colorbar(image, ax=axes, label="importance", shrink=0.9)
        mask = HeadMask.parse(" ".join(pruned), HeadCounts.described(report["blocks"]))
        for layer, heads in enumerate(mask.by_block()):
            if heads:
                y = [layer] * len(heads)
                axes.plot(heads, y, "x", color="white", markersize=8, markeredgewidth=3)
                axes.plot(heads, y, "x", color="crimson", markersize=7, markeredgewidth=1.4)
        if pruned:
            figure.text(0.01, 0.005, "x = pruned", color="crimson", fontsize=8)
    return figure


def _score_title(report: Mapping[str, Any]) -> str:
    norm = None if report["normalize"] == "none" else report["normalize"]
    return " / ".join(part for part in (report["criterion"], report["estimator"], norm) if part)


def agreement_figure(records: Sequence[Mapping[str, Any]]) -> "Figure":
    """Spearman's correlation of the scores of each two estimators; a cell is empty where it is undefined."""
    n_columns = min(_COLUMNS, len(records))
    n_rows = -(-len(records) // n_columns)
    with canvas(1.2 + 2.9 * n_columns, 0.9 + 2.9 * n_rows) as figure:
        panels = grid_of_panels(figure, len(records), n_columns)
        for axes, record in zip(panels, records, strict=True):
            axes.set_title(whose(record), fontsize=9)
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
        figure.colorbar(image, ax=panels, label="Spearman's correlation of the scores", shrink=0.8)
    return figure
