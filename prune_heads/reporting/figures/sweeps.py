"""A sweep as a figure: the metric against the share of heads pruned, by criterion; small multiples by task."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prune_heads.reporting.figures.style import MARKERS, STYLE
from prune_heads.reporting.sweep_results import FOUND, varying

_OF_A_PANEL = ("task", "model", "split")
_COLUMNS = 3


def sweep_figure(name: str, rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel a task, model and split; a line a criterion and whatever else varies; a band from the least to the most.

    Args:
        name: Of the sweep.
        rows: Of the headline metrics, as `result_rows` gives them.
    """
    panels = list(
        dict.fromkeys(tuple(row[key] for key in _OF_A_PANEL) for row in sorted(rows, key=_panel_order))
    )
    shown = varying(rows, _OF_A_PANEL) or ["task"]
    aside = {"trial", "seed", "fraction", "n_heads", "n_pruned", "heads", "headline", *_OF_A_PANEL, *FOUND}
    by = varying(rows, [key for key in rows[0] if key not in aside])
    n_columns = min(_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 4.2 * n_columns, 1.2 + 3.2 * n_rows), layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        lines = list(
            dict.fromkeys(_line(row, by) for row in sorted(rows, key=lambda row: str(_line(row, by))))
        )
        for axes, panel in zip(grid.flat, panels, strict=False):
            own = [row for row in rows if tuple(row[key] for key in _OF_A_PANEL) == panel]
            for i, line in enumerate(lines):
                _draw(axes, [row for row in own if _line(row, by) == line], " / ".join(map(str, line)), i)
            about = dict(zip(_OF_A_PANEL, panel, strict=True))
            axes.set(
                title=" / ".join(str(about[key]) for key in shown), ylabel=own[0]["metric"].replace("_", " ")
            )
            axes.set(xlabel="heads pruned (%)", xlim=(-2, 102))
            axes.grid(axis="y", alpha=0.3)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        if by:
            handles, labels = _legend(grid.flat)
            figure.legend(
                handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False
            )
        n_seeds = len({row["seed"] for row in rows if "seed" in row})
        band = f"; line: mean over {n_seeds} seeds, band: least to most" if n_seeds > 1 else ""
        figure.suptitle(f"{name}{band}", fontsize=11)
    return figure


def _draw(axes: Axes, rows: Sequence[Mapping[str, Any]], label: str, i: int) -> None:
    points: dict[float, list[float]] = {}
    for row in rows:
        points.setdefault(100 * row["n_pruned"] / row["n_heads"], []).append(row["pruned"])
    if not points:
        return
    x = sorted(points)
    (line,) = axes.plot(
        x,
        [np.mean(points[at]) for at in x],
        marker=MARKERS[i % len(MARKERS)],
        markersize=4,
        label=label,
        color=f"C{i}",
    )
    low, high = [min(points[at]) for at in x], [max(points[at]) for at in x]
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)


def _legend(panels: Any) -> tuple[list[Any], list[str]]:
    """Each line once, from whichever panel has it."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def _line(row: Mapping[str, Any], by: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[key] for key in by)


def _panel_order(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in _OF_A_PANEL)
