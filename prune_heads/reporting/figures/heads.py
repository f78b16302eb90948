"""A number a head: maps of scores and differences, their histogram, two measurements against each other; pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting import words
from prune_heads.reporting.ablation import CORRECTED, KINDS, differences, head_rows, points
from prune_heads.reporting.figures import Axes, Figure, drawing, name_panels, name_points
from prune_heads.reporting.figures.looks import ATTENTION_LOOKS
from prune_heads.reporting.figures.maps import cells, grid_of, heads_map, map_panels, scale_beside
from prune_heads.reporting.words import Record
from prune_heads.studies.correlating import LOSS, SCORE

_BINS = 24
_NARROW = 0.001  # width of a bin where no head changes a metric that is not on a grid
_NAMED = 3  # heads that are named in a scatter, the farthest from the middle, where there is room
_N_NAMED = 5  # pairs that are named, those that interact most
_PLAIN = ATTENTION_LOOKS["E"]  # of blocks that are of one kind
_BLUE, _RED = _PLAIN.colour, "crimson"


_Side = tuple[str, NDArray[np.float64]]  # one of two measurements of the same heads: its name, and a number a head


def heat_map(report: Record, pruned: Sequence[str] = ()) -> Figure:
    """Scores of `prune-heads score --json`, a row a layer, a column a head; those of `pruned` (from 1) struck out."""
    from matplotlib.patheffects import withStroke

    counts = HeadCounts.described(report["blocks"])
    grid = grid_of(counts.rows(words.scores_of(report)))
    scale, digits = words.scale_of(grid[~np.isnan(grid)])

    def shown(value: float) -> str:
        return f"{value / scale:z.{digits}f}"

    how = report["estimator"] or report.get("response")
    made = report["criterion"] + (f" ({how})" if how else "")
    norm = "" if report["normalize"] == "none" else f", normalised: {report['normalize']}"
    on = f"\n{words.with_number(report['split'], report['n_examples'])}" if report["split"] else ""
    with map_panels([grid]) as (figure, (axes,)):
        image = heads_map(axes, grid, words.layer_names(report), shown, cmap="viridis")
        axes.set_title(f"importance by {made}{norm}{on}", fontsize=11)
        unit = "" if scale == 1 else f", in units of {scale:g}"
        scale_beside(figure, image, f"importance{unit}", format=lambda value, _: shown(value))
        struck = HeadMask.parse(" ".join(pruned), counts)
        for layer, head in struck:
            across, down = [head - 0.44, head + 0.44], [layer + 0.42, layer - 0.42]
            stroke = withStroke(linewidth=2.4, foreground="black")
            axes.plot(across, down, color="white", linewidth=1.2, path_effects=[stroke])
        for number in axes.texts:
            head, layer = map(round, number.get_position())
            if (layer, head) in struck:  # to be read on the stroke
                number.set_path_effects([withStroke(linewidth=2.5, foreground=image.to_rgba(grid[layer, head]))])
        if pruned:
            figure.supxlabel("struck out: pruned", fontsize=8)
    return figure


def agreement_figure(records: Sequence[Record]) -> Figure:
    """Spearman's correlation of the scores of each two estimators; a cell is empty where it is undefined."""
    n_columns = min(3, len(records))
    n_rows = -(-len(records) // n_columns)
    with drawing(0.4 + 3.1 * n_columns, 0.5 + 2.7 * n_rows, len(records), n_columns) as (figure, panels):
        for axes, record in zip(panels, records, strict=True):
            axes.set_title(f"{words.whose(record)}, n = {record['scored_on']['n_examples']:,}", fontsize=10)
            names = [line["estimator"] for line in record["lines"]]
            grid = np.eye(len(names))
            for pair in record["pairs"]:
                i, j = names.index(pair["first"]), names.index(pair["second"])
                grid[i, j] = grid[j, i] = np.float64(pair["spearman"]["value"])  # of None, NaN
            cells(axes, grid, names, "{:.2f}".format, cmap="RdBu", vmin=-1, vmax=1)
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
            axes.tick_params(labelsize=8)
        figure.suptitle("Spearman correlation of the scores of two estimators", fontsize=11)
    return figure


def ablation_maps(record: Record) -> Figure:
    """The differences, layers down and heads across; a panel a split, all in one scale that no difference exceeds.

    White is no difference; losses are red, gains blue. Framed is what stays significant after Holm's correction. Heads
    that were not measured are grey.
    """
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    tables = record["tables"]
    grids = [grid_of(table["delta"]) * 100 for table in tables]
    limit = max(float(np.nanmax(np.abs(grid))) for grid in grids) or 1.0
    light = withStroke(linewidth=3, foreground="white")
    with map_panels(grids) as (figure, panels):
        for axes, table, grid in zip(panels, tables, grids, strict=True):
            numbers = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
            image = heads_map(axes, grid, words.layer_names(table), lambda value: points(value / 100), **numbers)
            for layer, row in enumerate(differences(table)):
                for head, cell in enumerate(row):
                    if cell and cell.mark == CORRECTED:
                        looks: dict[str, Any] = {"fill": False, "linewidth": 1.2, "path_effects": [light]}
                        axes.add_patch(Rectangle((head - 0.45, layer - 0.44), 0.9, 0.88, **looks))
            scale_beside(figure, image, f"difference in {words.metric_name(record)}, points")
        name_panels(figure, panels, _title(record), _splits(tables))
        n_tests, alpha = np.count_nonzero(~np.isnan(grids[0])), tables[0]["alpha"]
        figure.supxlabel(f"framed: p < {alpha:g} after Holm's correction over {n_tests} heads", fontsize=8)
    return figure


def ablation_histogram(record: Record, *, of_encoder: bool = False) -> Figure:
    """How many heads leave which metric (paper, figure 1); a line at the metric of the whole model.

    Of all heads that were masked, or those of the encoder's self-attention.
    """
    tables = record["tables"]
    with drawing(6, 0.9 + 2.1 * len(tables), len(tables)) as (figure, panels):
        for axes, table in zip(panels, tables, strict=True):
            values = [row["value"] for row in head_rows(table, "E:" if of_encoder else "")]
            edges = _edges(values, table["base"], table["n_examples"] if record["headline"] == "accuracy" else None)
            axes.hist(values, bins=edges, color=_BLUE, edgecolor="white", linewidth=0.5)
            axes.axvline(table["base"], color=_RED, linewidth=1.4, label=f"all heads: {table['base']:.4f}")
            axes.set_ylabel("heads")
            axes.locator_params("y", integer=True)
            axes.legend(frameon=False, loc="best")
        panels[-1].set_xlabel(f"{words.metric_name(record)} {KINDS[record['kind']]}")
        of = " of the encoder's self-attention" if of_encoder else ""
        name_panels(figure, panels, _title(record) + of, _splits(tables))
    return figure


def ablation_scatter(record: Record) -> Figure:
    """The differences on two splits against each other (paper, figure 2), a panel a pair; a point is a head."""
    tables = {table["split"]: table["delta"] for table in record["tables"]}
    ends = f":\ndifference in {words.metric_name(record)}, points"
    sides = {split: (words.split_title(split) + ends, 100 * grid_of(delta)) for split, delta in tables.items()}
    pairs = [(sides[pair["first"]], sides[pair["second"]], pair) for pair in record["correlations"]]
    return _scatter(_title(record), pairs, words.layer_names(record["tables"][0]))


def correlation_scatters(record: Record) -> dict[str, Figure]:
    """Of `prune-heads correlate`, a figure a pair; differences in points, negated where it compares losses."""
    grids = {series["name"]: grid_of(series["values"]) for series in record["series"]}
    units = {series["name"]: series["response"] for series in record["series"] if "response" in series}

    def side(pair: Record, which: str) -> _Side:
        name, measure = pair[which], pair[f"{which}_measure"]
        if measure == SCORE:
            return f"{name}:\n{measure}", grids[name]
        scale = 1 if name in units else 100
        unit = units.get(name, "points")
        return f"{name}:\n{measure} ({unit})", (-scale if measure == LOSS else scale) * grids[name]

    numbers = {name: number for number, name in enumerate(grids, start=1)}
    return {
        f"scatter-{numbers[pair['first']]}-{numbers[pair['second']]}": _scatter(
            f"{pair['n_heads']} heads", [(side(pair, "first"), side(pair, "second"), pair)]
        )
        for pair in record["correlations"]
    }


def _scatter(title: str, pairs: Sequence[tuple[_Side, _Side, Record]], names: Sequence[str] | None = None) -> Figure:
    """A panel a pair, headed by the Pearson correlation that `correlate` gives; each kind of blocks has a colour.

    A line divides heads that help from heads that harm, where there are both.
    """
    named = names or [str(block + 1) for block in range(len(pairs[0][0][1]))]
    with drawing(4.9 * len(pairs), 5.3, len(pairs), len(pairs)) as (figure, panels):
        for axes, ((across, x), (up, y), _) in zip(panels, pairs, strict=True):
            for grid, line in ((x, axes.axvline), (y, axes.axhline)):
                if np.nanmin(grid) < 0 < np.nanmax(grid):
                    line(0, color="0.6", linewidth=0.8)
            kinds = [name.rpartition(":")[0] for name in named]
            for kind in dict.fromkeys(kinds):
                own = [i for i, each in enumerate(kinds) if each == kind]
                colour, _, marker, _ = ATTENTION_LOOKS.get(kind, _PLAIN)
                looks: dict[str, Any] = {"color": colour, "markersize": 5, "alpha": 0.7, "markeredgewidth": 0}
                axes.plot(x[own].ravel(), y[own].ravel(), marker, label=words.ATTENTION.get(kind), **looks)
            if len(set(kinds)) > 1:
                axes.legend(frameon=False, loc="best", fontsize=9)
            axes.set(xlabel=across, ylabel=up, box_aspect=1)
            axes.margins(0.08)
        name_panels(figure, panels, title, [f"Pearson r {words.interval(pair, 'pearson')}" for *_, pair in pairs])
        for axes, ((_, x), (_, y), _) in zip(panels, pairs, strict=True):
            _name_the_farthest(figure, axes, x, y, named)
    return figure


def _name_the_farthest(figure: Figure, axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Far is what looks far: each axis counts by its own spread, for the two may have different units."""
    measured = ~np.isnan(x + y)
    points = np.stack((x, y), axis=-1)[measured]
    spread = np.ptp(points, axis=0)
    far = np.hypot(*((points - np.median(points, axis=0)) / np.where(spread > 0, spread, 1.0)).T)
    order = np.argsort(-far, kind="stable")
    named = [f"{names[layer]}:{head + 1}" for layer, head in np.argwhere(measured)[order[:_NAMED]]]
    name_points(figure, axes, points[order], named, 9)


def pairs_figure(record: Record) -> Figure:
    """The interaction of each pair against the smaller of its heads' own losses, a panel a split; a point is a pair.

    Bars are 95% intervals. Pairs above zero stand in for each other: far left, each looks useless alone. Pairs that
    interact after Holm's correction are filled.
    """
    tables = record["pairs"]
    with drawing(5.2 * len(tables), 4.6, len(tables), len(tables)) as (figure, panels):
        figure.suptitle(f"{words.whose(record)}: pairs of heads", fontsize=11)
        figure.supxlabel("filled: after Holm's correction; above 0 they stand in for each other", fontsize=8)
        for axes, table in zip(panels, tables, strict=True):
            rows = sorted(table["rows"], key=lambda row: -abs(row["interaction"]))
            x = np.array([min(row["first_loss"], row["second_loss"]) for row in rows])
            y, low, high, p = np.array([[row[of] for of in ("interaction", "low", "high", "p_holm")] for row in rows]).T
            found = p < table["alpha"]
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.vlines(x, low, high, color="0.75", linewidth=0.8, zorder=0)
            axes.plot(x[~found], y[~found], "o", color="#31688e", markerfacecolor="white", markersize=4)
            axes.plot(x[found], y[found], "o", color="#d1495b", markersize=4.5)
            axes.set(xlabel="smaller loss of the two heads alone (nats an example)", ylabel="interaction (nats)")
            axes.set_title(words.with_number(table["split"], table["n_examples"]), fontsize=10)
            axes.margins(0.12)
            axes.locator_params(axis="x", nbins=6)  # numbers of four digits need their room
            named = [f"{row['first']} {row['second']}" for row in rows[:_N_NAMED]]
            name_points(figure, axes, np.stack([x, y], axis=1), named, 8)
    return figure


def similarity_figure(record: Record) -> Figure:
    """Of each group of heads the distances, and their places in a plane, in the colours of their layers."""
    groups = record["groups"]
    with drawing(11.5, 5.2 * len(groups), 2 * len(groups), 2) as (figure, panels):
        figure.suptitle(f"{words.whose(record)}, n = {record['n_examples']:,}: how alike heads are", fontsize=11)
        for left, right, group in zip(panels[::2], panels[1::2], groups, strict=True):
            layers, listed = [head.rpartition(":")[0] for head in group["heads"]], np.array(group[group["by"]])
            names = list(dict.fromkeys(layers))
            is_map, starts = group["by"] == "js", np.array([layers.index(name) for name in names]) - 0.5
            image = left.imshow(scipy.spatial.distance.squareform(listed if is_map else 1 - listed), cmap="viridis_r")
            left.set_xticks(starts, names, ha="left")
            left.set_yticks(starts, names, va="top")
            left.set(xlabel="layer, heads in order", ylabel="layer")
            label = "Jensen-Shannon divergence of maps (nats)" if is_map else "1 - CKA of outputs"
            figure.colorbar(image, cax=left.inset_axes((1.03, 0, 0.04, 1)), label=label)
            x, y = points = np.transpose(group["places"])
            shades = [names.index(layer) / max(1, len(names) - 1) for layer in layers]
            drawn = right.scatter(x, y, s=36, c=shades, vmin=0, vmax=1.09, alpha=0.85)  # the lightest yellow is faint
            right.set_title(f"places that show {group['shown']:.0%} of the squared distances", fontsize=10)
            titles = [f"layer {name}" for name in names]
            looks: dict[str, Any] = {"frameon": False, "fontsize": 8, "loc": "center left", "bbox_to_anchor": (1, 0.5)}
            right.legend(drawn.legend_elements(num=sorted(set(shades)))[0], titles, **looks)
            right.margins(0.08)
            right.set_aspect("equal", adjustable="datalim")
            name_points(figure, right, points.T, group["heads"], 6.5)
    return figure


def _title(record: Record) -> str:
    return f"{words.whose(record)}: {KINDS[record['kind']]}"


def _splits(tables: Sequence[Record]) -> list[str]:
    return [words.with_number(table["split"], table["n_examples"]) for table in tables]


def _edges(values: Sequence[float], base: float, n_examples: int | None) -> list[float]:
    """Edges of bins, one of them around the base; of accuracies, as wide as an odd number of examples.

    Other widths would catch now more, now fewer points of the grid that these lie on, and even ones have some on edges.
    """
    low, high = min(*values, base), max(*values, base)
    width = (high - low) / _BINS or _NARROW
    if n_examples is not None:
        width = (int(np.ceil((high - low) * n_examples / _BINS)) // 2 * 2 + 1) / n_examples
    first, last = (np.floor((end - base) / width + 0.5) for end in (low, high))
    return (base + (np.arange(first, last + 2) - 0.5) * width).tolist()
