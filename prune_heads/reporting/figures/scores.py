"""The heat map of scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.figures.style import canvas, grid_of
from prune_heads.reporting.words import layer_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def heat_map(report: Mapping[str, Any], pruned: Sequence[str] = ()) -> "Figure":
    """Scores, one row a layer, one column a head; a cross on each pruned head.

    Args:
        report: What `prune-heads score --json` prints.
        pruned: Descriptors of pruned heads, from 1.
    """
    rows = report["scores"]
    grid = grid_of(rows)
    width = grid.shape[1]
    with canvas(1.9 + 0.42 * width, 1.3 + 0.42 * len(rows)) as figure:
        axes = figure.add_subplot()
        image = axes.imshow(grid, cmap="viridis", aspect="equal")
        axes.set(xlabel="head", ylabel="layer", title=_score_title(report))
        axes.set_xticks(range(width), [str(head + 1) for head in range(width)])
        axes.set_yticks(range(len(rows)), layer_names(report))
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
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
    parts = [
        report["criterion"],
        report["estimator"],
        None if report["normalize"] == "none" else report["normalize"],
    ]
    return " / ".join(part for part in parts if part)
