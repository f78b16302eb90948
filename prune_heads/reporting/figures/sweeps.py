"""A sweep as a figure: the metric against the share of heads pruned, by criterion; small multiples by task."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prune_heads.reporting.figures.style import MARKERS, canvas
from prune_heads.reporting.sweep_panels import panels, seeds_sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3


def sweep_figure(name: str, rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """A panel a task, model and split; a line a criterion and whatever else varies; a band from the least to the most.

    Args:
        name: Of the sweep.
        rows: As `result_rows` gives them.
    """
    shown = panels(rows)
    lines = list(dict.fromkeys(line for panel in shown for line in panel.lines))
    n_columns = min(_COLUMNS, len(shown))
    n_rows = -(-len(shown) // n_columns)
    with canvas(1.0 + 4.2 * n_columns, 1.2 + 3.2 * n_rows) as figure:
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes, panel in zip(grid.flat, shown, strict=False):
            for line, points in panel.lines.items():
                _draw(axes, points, line, lines.index(line))
            axes.set(title=panel.title, ylabel=panel.metric, xlabel="heads pruned (%)", xlim=(-2, 102))
            axes.grid(axis="y", alpha=0.3)
        for axes in list(grid.flat)[len(shown) :]:
            axes.set_visible(False)
        if len(lines) > 1:
            handles = {
                label: handle
                for axes in grid.flat
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
            }
            figure.legend(
                [handles[line] for line in lines],
                lines,
                loc="outside lower center",
                ncols=min(4, len(lines)),
                frameon=False,
            )
        seeds = seeds_sentence(rows)
        figure.suptitle(f"{name}: {seeds}" if seeds else name, fontsize=11)
    return figure


def _draw(axes: "Axes", points: Mapping[float, Sequence[float]], label: str, i: int) -> None:
    x = list(points)
    mean = [np.mean(values) for values in points.values()]
    axes.plot(x, mean, marker=MARKERS[i % len(MARKERS)], markersize=4, label=label, color=f"C{i}")
    low, high = [min(values) for values in points.values()], [max(values) for values in points.values()]
    axes.fill_between(x, low, high, color=f"C{i}", alpha=0.18, linewidth=0)
