"""Estimators of importance against each other, a panel a subject: grids of correlations, and curves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from prune_heads.reporting.curves import shares
from prune_heads.reporting.figures.style import MARKERS, canvas
from prune_heads.reporting.words import metric_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_DARK = 0.65
"""From which absolute correlation on a cell is so dark that its number is white."""


def agreement_figure(records: Sequence[Mapping[str, Any]]) -> "Figure":
    """Spearman's correlation of the scores of each two estimators; a cell is empty where it is undefined."""
    with _panels(records, 2.9, 2.9) as (figure, panels):
        for axes, record in zip(panels, records, strict=True):
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


def estimator_curves(records: Sequence[Mapping[str, Any]]) -> "Figure":
    """The metric against the share of heads pruned, a line an estimator."""
    with _panels(records, 3.6, 3.0) as (figure, panels):
        for axes, record in zip(panels, records, strict=True):
            axes.axhline(record["lines"][0]["points"][0]["value"], color="0.5", linewidth=0.8, linestyle=":")
            for i, line in enumerate(record["lines"]):
                x, y = shares(line["points"], record), [point["value"] for point in line["points"]]
                style = "-" if i < len(MARKERS) else "--"
                axes.plot(
                    x, y, style, marker=MARKERS[i % len(MARKERS)], markersize=4, label=line["estimator"]
                )
            axes.set(xlabel="heads pruned (%)", xlim=(-2, 102), ylabel=metric_name(record))
            axes.grid(axis="y", alpha=0.3)
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
        )
    return figure


@contextmanager
def _panels(
    records: Sequence[Mapping[str, Any]], width: float, height: float
) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A named panel a record, sizes in inches."""
    n_columns = min(_COLUMNS, len(records))
    n_rows = -(-len(records) // n_columns)
    with canvas(1.2 + width * n_columns, 0.9 + height * n_rows) as figure:
        panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
        for axes in panels[len(records) :]:
            axes.set_visible(False)
        for axes, record in zip(panels, records, strict=False):
            name = record["model"]["name"].rpartition("/")[2]
            axes.set_title(f"{name} on {record['task']}", fontsize=9)
        yield figure, panels[: len(records)]
