"""Figures from records: a heat map of the scores and the curve of the metric. Each as PNG and SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from prune_heads.heads import HeadMask

_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "prune-heads",  # the same record gives the same bytes
    "svg.fonttype": "none",
    "figure.dpi": 100,
}
_MARKERS = "os^Dv"


def heat_map(report: Mapping[str, Any], pruned: Sequence[str] = ()) -> Figure:
    """Scores, one row a layer, one column a head; a cross on each pruned head.

    Args:
        report: What `prune-heads score --json` prints.
        pruned: Descriptors of pruned heads, from 1.
    """
    rows = report["scores"]
    width = max(map(len, rows))
    grid = np.full((len(rows), width), np.nan)
    for layer, values in enumerate(rows):
        grid[layer, : len(values)] = values
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(1.9 + 0.42 * width, 1.3 + 0.42 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(grid, cmap="viridis", aspect="equal")
        axes.set(xlabel="head", ylabel="layer", title=_score_title(report))
        axes.set_xticks(range(width), [str(head + 1) for head in range(width)])
        axes.set_yticks(range(len(rows)), [str(layer + 1) for layer in range(len(rows))])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label="importance", shrink=0.9)
        mask = HeadMask.parse(" ".join(pruned), [len(values) for values in rows])
        for layer, heads in enumerate(mask.by_block()):
            if heads:
                y = [layer] * len(heads)
                axes.plot(heads, y, "x", color="white", markersize=8, markeredgewidth=3)
                axes.plot(heads, y, "x", color="crimson", markersize=7, markeredgewidth=1.4)
        if pruned:
            figure.text(0.01, 0.005, "x = pruned", color="crimson", fontsize=8)
    return figure


def curve_figure(record: Mapping[str, Any]) -> Figure:
    """The headline metric against the share of heads pruned, a line a split (paper, figure 3)."""
    points, metric = record["curve"], record["headline"]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(6, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for i, split in enumerate(dict.fromkeys(point["split"] for point in points)):
            own = [point for point in points if point["split"] == split]
            x, y = [point["percent"] for point in own], [point[metric] for point in own]
            (line,) = axes.plot(x, y, marker=_MARKERS[i % len(_MARKERS)], label=split)
            axes.axhline(y[0], color=line.get_color(), linewidth=0.8, linestyle=":")
        axes.set(
            xlabel="heads pruned (%), lowest score first",
            ylabel=metric.replace("_", " "),
            title=f"{record['model']['name']} on {record['task']}",
            xlim=(-2, 102),
            xticks=range(0, 101, 10),
        )
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, loc="lower left")
    return figure


def save(figure: Figure, folder: Path, stem: str) -> None:
    """Write `stem.png` and `stem.svg`; no date in them, so that the same figure gives the same bytes."""
    with matplotlib.rc_context(_STYLE):
        figure.savefig(folder / f"{stem}.png", dpi=150, metadata={"Software": None})
        figure.savefig(folder / f"{stem}.svg", metadata={"Date": None, "Creator": None})


def _score_title(report: Mapping[str, Any]) -> str:
    parts = [
        report["criterion"],
        report["estimator"],
        None if report["normalize"] == "none" else report["normalize"],
    ]
    return " / ".join(part for part in parts if part)
