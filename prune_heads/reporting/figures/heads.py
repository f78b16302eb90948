"""A number a head: maps of scores and of differences, their histogram, and two measurements against each other."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.ablation import CORRECTED, KINDS, differences, head_rows
from prune_heads.reporting.figures import drawing
from prune_heads.reporting.words import Record, interval, layer_names, metric_name, subject_of, whose
from prune_heads.studies.correlating import LOSS, SCORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Rows = Sequence[Sequence[float | None]]  # one row a block; None where there is no head or it was not measured

_BINS = 24
_NARROW = 0.001  # width of a bin where no head changes a metric that is not on a grid
_CLIPPED_AT = 98  # percentile of the absolute differences at which the colours end
_DARK = 0.65  # from which absolute correlation on a cell is so dark that its number is white
_NAMED = 3  # heads that are named in a scatter, the farthest from the middle, where there is room
_ROOM = (0.08, 0.03)  # width and height of a name, as shares of the axes
_COLOURS = {"": "#31688e", "E": "#31688e", "A": "#d1495b", "D": "#e0a030"}  # by kind of blocks


def heat_map(report: Record, pruned: Sequence[str] = ()) -> "Figure":
    """Scores of `prune-heads score --json`, a row a layer, a column a head; crosses on `pruned`, descriptors from 1."""
    grid = _grid_of(report["scores"])
    height, width = grid.shape
    with drawing(1.9 + 0.42 * width, 1.3 + 0.42 * height) as (figure, (axes,)):
        image = _heads_map(axes, grid, layer_names(report), cmap="viridis")
        norm = None if report["normalize"] == "none" else report["normalize"]
        axes.set_title(" / ".join(part for part in (report["criterion"], report["estimator"], norm) if part))
        figure.colorbar(image, ax=axes, label="importance", shrink=0.9)
        if pruned:
            layers, heads = zip(*HeadMask.parse(" ".join(pruned), HeadCounts.described(report["blocks"])), strict=True)
            axes.plot(heads, layers, "x", color="white", markersize=8, markeredgewidth=3)
            axes.plot(heads, layers, "x", color="crimson", markersize=7, markeredgewidth=1.4)
            figure.text(0.01, 0.005, "x = pruned", color="crimson", fontsize=8)
    return figure


def agreement_figure(records: Sequence[Record]) -> "Figure":
    """Spearman's correlation of the scores of each two estimators; a cell is empty where it is undefined."""
    n_columns = min(4, len(records))
    n_rows = -(-len(records) // n_columns)
    with drawing(1.2 + 2.9 * n_columns, 0.9 + 2.9 * n_rows, len(records), n_columns) as (figure, panels):
        for axes, record in zip(panels, records, strict=True):
            axes.set_title(whose(record), fontsize=9)
            names = [line["estimator"] for line in record["lines"]]
            grid = np.eye(len(names))
            for pair in record["pairs"]:
                i, j = names.index(pair["first"]), names.index(pair["second"])
                grid[i, j] = grid[j, i] = np.float64(pair["spearman"]["value"])  # of None, NaN
            image = _image(axes, grid, names, cmap="RdBu", vmin=-1, vmax=1)
            for i, j in np.argwhere(~np.isnan(grid)):
                colour = "white" if abs(grid[i, j]) > _DARK else "black"
                axes.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.tick_params(labelsize=8)
        figure.colorbar(image, ax=panels, label="Spearman's correlation of the scores", shrink=0.8)
    return figure


def ablation_maps(record: Record) -> "Figure":
    """The differences, layers down and heads across; a panel a split, all in one scale.

    White is no difference; one strong head must not make all others pale, so the few strongest share a colour.
    A dot is p < alpha; a dot in a frame stays so after Holm's correction. Heads that were not measured are grey.
    """
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.patches import Rectangle

    tables = record["tables"]
    grids = [_grid_of(table["delta"]) * 100 for table in tables]
    height, width = grids[0].shape
    shown = np.concatenate([grid[~np.isnan(grid)] for grid in grids])
    limit = float(np.percentile(np.abs(shown), _CLIPPED_AT)) or 1.0
    extend = ("neither", "min", "max", "both")[(shown.min() < -limit) + 2 * (shown.max() > limit)]
    size = 1.6 + (0.9 + 0.34 * width) * len(tables), 2.0 + 0.34 * height
    with drawing(*size, len(tables), len(tables)) as (figure, panels):
        for axes, table, grid in zip(panels, tables, grids, strict=True):
            image = _heads_map(axes, grid, layer_names(table), cmap="RdBu", norm=TwoSlopeNorm(0, -limit, limit))
            axes.tick_params(labelsize=8)
            for layer, row in enumerate(differences(table)):
                for head, cell in enumerate(row):
                    if cell and cell.mark:
                        axes.plot(head, layer, "o", color="black", markersize=4.5, markeredgecolor="white")
                    if cell and cell.mark == CORRECTED:
                        axes.add_patch(Rectangle((head - 0.46, layer - 0.46), 0.92, 0.92, fill=False, linewidth=1.2))
        label = f"difference in {metric_name(record)}, points"
        figure.colorbar(image, ax=panels, label=label, shrink=0.9, extend=extend)
        _name(figure, panels, _title(record), [table["split"] for table in tables])
        figure.supxlabel(f"dot: p < {tables[0]['alpha']:g}; framed: also after Holm's correction", fontsize=8)
    return figure


def ablation_histogram(record: Record, *, of_encoder: bool = False) -> "Figure":
    """How many heads leave which metric (paper, figure 1); a line at the metric of the whole model.

    Of all heads that were masked, or those of the encoder's self-attention.
    """
    tables = record["tables"]
    with drawing(6, 1.1 + 2.3 * len(tables), len(tables), sharex=True) as (figure, panels):
        for axes, table in zip(panels, tables, strict=True):
            values = [row["value"] for row in head_rows(table, "E:" if of_encoder else "")]
            n_examples = table["n_examples"] if record["headline"] == "accuracy" else None
            axes.hist(values, bins=_edges(values, table["base"], n_examples), color="#31688e")
            axes.axvline(table["base"], color="crimson", linewidth=1.4, label=f"all heads: {table['base']:.4f}")
            axes.set_ylabel("heads")
            axes.locator_params("y", integer=True)
            axes.legend(frameon=False, loc="best")
            axes.xaxis.set_tick_params(labelbottom=True)
        panels[-1].set_xlabel(f"{metric_name(record)} {KINDS[record['kind']]}")
        of = " of the encoder's self-attention" if of_encoder else ""
        _name(figure, panels, _title(record) + of, [table["split"] for table in tables])
    return figure


def ablation_scatter(record: Record) -> "Figure":
    """The differences on two splits against each other (paper, figure 2), a panel a pair; a point is a head."""
    tables = {table["split"]: table["delta"] for table in record["tables"]}
    sides = {split: _Side(f"{split} (points)", 100 * _grid_of(delta)) for split, delta in tables.items()}
    pairs = [(sides[pair["first"]], sides[pair["second"]], pair) for pair in record["correlations"]]
    return _scatter(_title(record), pairs, layer_names(record["tables"][0]))


def correlation_scatter(record: Record, pair: Record) -> "Figure":
    """One of the `correlations` of `prune-heads correlate`; differences in points, negated where it compares losses."""
    grids = {series["name"]: _grid_of(series["values"]) for series in record["series"]}

    def side(which: str) -> _Side:
        name, measure = pair[which], pair[f"{which}_measure"]
        if measure == SCORE:
            return _Side(f"{name}:\n{measure}", grids[name], has_zero=False)
        return _Side(f"{name}:\n{measure} (points)", (-100 if measure == LOSS else 100) * grids[name])

    return _scatter(f"{pair['n_heads']} heads", [(side("first"), side("second"), pair)])


class _Side(NamedTuple):
    """One of two measurements of the same heads."""

    label: str
    grid: NDArray[np.float64]
    has_zero: bool = True  # whether zero divides heads that help from heads that harm


def _scatter(title: str, pairs: Sequence[tuple[_Side, _Side, Record]], names: Sequence[str] | None = None) -> "Figure":
    """A panel a pair, headed by the Pearson correlation that `correlate` gives; each kind of blocks has a colour."""
    with drawing(4.9 * len(pairs), 5.3, len(pairs), len(pairs)) as (figure, panels):
        for axes, (first, second, _) in zip(panels, pairs, strict=True):
            x, y = first.grid, second.grid
            for side, line in ((first, axes.axvline), (second, axes.axhline)):
                if side.has_zero:
                    line(0, color="0.6", linewidth=0.8)
            named = names or [str(block + 1) for block in range(len(x))]
            kinds = [name.rpartition(":")[0] for name in named]
            for kind in dict.fromkeys(kinds):
                own = [i for i, each in enumerate(kinds) if each == kind]
                (drawn,) = axes.plot(x[own].ravel(), y[own].ravel(), "o", label=kind, color=_COLOURS[kind])
                drawn.set(markersize=4.5, alpha=0.7, markeredgewidth=0)
            if len(set(kinds)) > 1:
                axes.legend(frameon=False, loc="best")
            _name_the_farthest(axes, x, y, named)
            axes.set(xlabel=first.label, ylabel=second.label, box_aspect=1)
            axes.margins(0.08)
        _name(figure, panels, title, [f"Pearson r {interval(pair, 'pearson')}" for *_, pair in pairs])
    return figure


def _name_the_farthest(axes: "Axes", x: NDArray[np.float64], y: NDArray[np.float64], names: Sequence[str]) -> None:
    """Far is what looks far: each axis counts by its own spread, for the two may have different units."""
    measured = ~(np.isnan(x) | np.isnan(y))
    places = np.full((*x.shape, 2), np.nan)
    for axis, grid in enumerate((x, y)):
        values = grid[measured]
        places[measured, axis] = (values - np.median(values)) / (np.ptp(values) or 1.0)
    far = np.where(measured, np.hypot(*np.moveaxis(places, -1, 0)), 0.0)
    for index in np.argsort(-far, axis=None, kind="stable")[:_NAMED]:
        layer, head = np.unravel_index(index, far.shape)
        right, up = np.moveaxis(places - places[layer, head], -1, 0)
        if far[layer, head] == 0 or ((right > 0) & (right < _ROOM[0]) & (np.abs(up) < _ROOM[1])).any():
            continue  # the name would lie on another head
        name, at = f"{names[layer]}:{head + 1}", (x[layer, head], y[layer, head])
        axes.annotate(name, at, xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)


def _title(record: Record) -> str:
    return f"{subject_of(record)}\n{KINDS[record['kind']]}"


def _name(figure: "Figure", panels: Sequence["Axes"], title: str, names: Sequence[str]) -> None:
    """Name each panel, and the figure above them; of a single panel, one title above the other."""
    if len(panels) == 1:
        names = [f"{title}\n{names[0]}"]
    else:
        figure.suptitle(title, fontsize=11)
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name, fontsize=11)


def _heads_map(axes: "Axes", grid: NDArray[np.float64], layers: Sequence[str], **colours: Any) -> "AxesImage":
    """One row a layer, one column a head, numbered from 1."""
    axes.set(xlabel="head", ylabel="layer")
    axes.set_xticks(range(grid.shape[1]), [str(head + 1) for head in range(grid.shape[1])])
    return _image(axes, grid, layers, **colours)


def _image(axes: "Axes", grid: NDArray[np.float64], rows: Sequence[str], **colours: Any) -> "AxesImage":
    """A cell a number, in colours as `imshow` takes them; grey where there is none."""
    axes.set_facecolor("0.85")
    image = axes.imshow(grid, aspect="equal", **colours)
    axes.set_yticks(range(len(grid)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _grid_of(rows: Rows) -> NDArray[np.float64]:
    """Ragged rows as a matrix; NaN where there is no head or it was not measured."""
    return np.array([*zip_longest(*rows)], dtype=np.float64).T


def _edges(values: Sequence[float], base: float, n_examples: int | None) -> list[float]:
    """Edges of bins, one of them around the base; of accuracies, as wide as an odd number of examples.

    Other widths would catch now more, now fewer points of the grid that these lie on, and even ones have some on edges.
    """
    low, high = min(*values, base), max(*values, base)
    width = (high - low) / _BINS or _NARROW
    if n_examples is not None:
        width = (int(np.ceil((high - low) * n_examples / _BINS)) // 2 * 2 + 1) / n_examples
    first, last = (np.floor((end - base) / width + 0.5) for end in (low, high))
    edges: list[float] = (base + (np.arange(first, last + 2) - 0.5) * width).tolist()
    return edges
