"""Ablations: heat maps of the differences, the histogram of figure 1 and the scatter of figure 2 of the paper."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.reporting.ablation import KINDS, differences
from prune_heads.reporting.figures.scatter import Pair, Side, scatter
from prune_heads.reporting.figures.style import canvas, grid_of, grid_of_panels, head_panels, heads_map
from prune_heads.reporting.words import layer_names, metric_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 24
_NARROW = 0.001
"""Width of a bin where no head changes a metric that is not on a grid."""
_CLIPPED_AT = 98
"""Percentile of the absolute differences at which the colours end."""


def ablation_maps(record: Mapping[str, Any]) -> "Figure":
    """The differences, layers down and heads across; a panel a split, all in one scale.

    White is no difference; one strong head must not make all others pale, so the few strongest share a colour.
    A dot is p < alpha; a dot in a frame stays so after Holm's correction. Heads that were not measured are grey.
    """
    from matplotlib.colors import TwoSlopeNorm

    tables = record["tables"]
    grids = [grid_of(table["delta"]) * 100 for table in tables]
    height, width = grids[0].shape
    shown = np.concatenate([grid[~np.isnan(grid)] for grid in grids])
    limit = float(np.percentile(np.abs(shown), _CLIPPED_AT)) or 1.0
    beyond = {(True, True): "both", (True, False): "min", (False, True): "max"}
    extend = beyond.get((bool(shown.min() < -limit), bool(shown.max() > limit)), "neither")
    with canvas(1.6 + (0.9 + 0.34 * width) * len(tables), 2.0 + 0.34 * height) as figure:
        panels = grid_of_panels(figure, len(tables), len(tables))
        for axes, table, grid in zip(panels, tables, grids, strict=True):
            axes.set_facecolor("0.85")
            norm = TwoSlopeNorm(0, -limit, limit)
            image = heads_map(axes, grid, layer_names(table), cmap="RdBu", norm=norm)
            axes.tick_params(labelsize=8)
            _mark(axes, table)
        metric = metric_name(record)
        figure.colorbar(image, ax=panels, label=f"difference in {metric}, points", shrink=0.9, extend=extend)
        head_panels(figure, panels, _title(record), [table["split"] for table in tables])
        alpha = tables[0]["alpha"]
        figure.supxlabel(f"dot: p < {alpha:g}; framed: also after Holm's correction", fontsize=8)
    return figure


def ablation_histogram(record: Mapping[str, Any], of: str = "") -> "Figure":
    """How many heads leave which metric (paper, figure 1); a line at the metric of the whole model.

    Args:
        record: Of `prune-heads ablate`.
        of: Whose heads they are where they are not all: ` of the encoder`.
    """
    tables = record["tables"]
    with canvas(6, 1.1 + 2.3 * len(tables)) as figure:
        panels = list(figure.subplots(len(tables), 1, squeeze=False, sharex=True)[:, 0])
        for axes, table in zip(panels, tables, strict=True):
            values = [value for row in table["value"] for value in row if value is not None]
            n_examples = table["n_examples"] if record["headline"] == "accuracy" else None
            axes.hist(values, bins=_edges(values, table["base"], n_examples), color="#31688e")
            axes.axvline(table["base"], color="crimson", linewidth=1.4, label=f"all heads: {table['base']:.4f}")
            axes.set_ylabel("heads")
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.legend(frameon=False, loc="best")
            axes.xaxis.set_tick_params(labelbottom=True)
        panels[-1].set_xlabel(f"{metric_name(record)} {KINDS[record['kind']]}")
        head_panels(figure, panels, _title(record) + of, [table["split"] for table in tables])
    return figure


def ablation_scatter(record: Mapping[str, Any]) -> "Figure":
    """The differences on two splits against each other (paper, figure 2), a panel a pair; a point is a head."""
    sides = {table["split"]: Side(f"{table['split']} (points)", table["delta"], 100) for table in record["tables"]}
    pairs = [Pair(sides[pair["first"]], sides[pair["second"]], pair) for pair in record["correlations"]]
    return scatter(_title(record), pairs, layer_names(record["tables"][0]))


def _title(record: Mapping[str, Any]) -> str:
    return f"{record['model']['name']} on {record['task']}\n{KINDS[record['kind']]}"


def _mark(axes: "Axes", table: Mapping[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    for layer, row in enumerate(differences(table)):
        for head, cell in enumerate(row):
            if cell and cell.significant:
                axes.plot(head, layer, "o", color="black", markersize=4.5, markeredgecolor="white")
            if cell and cell.corrected:
                frame = Rectangle((head - 0.46, layer - 0.46), 0.92, 0.92, fill=False, linewidth=1.2)
                axes.add_patch(frame)


def _edges(values: Sequence[float], base: float, n_examples: int | None) -> NDArray[np.float64]:
    """Edges of bins, one of them around the base; of accuracies, as wide as an odd number of examples.

    Accuracies lie on a grid of 1 / n_examples. Other widths would catch now more, now fewer of its points, and an
    even number of them would put points on edges.
    """
    span = max(*values, base) - min(*values, base)
    if n_examples is None:
        width = span / _BINS or _NARROW
    else:
        width = (int(np.ceil(span * n_examples / _BINS)) // 2 * 2 + 1) / n_examples
    first = np.floor((min(*values, base) - base) / width + 0.5)
    last = np.floor((max(*values, base) - base) / width + 0.5)
    return np.asarray(base + (np.arange(first, last + 2) - 0.5) * width)
