"""Curves: the metric against the share of heads pruned, by whatever was compared. One way to draw them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING, Any

from prune_heads.reporting.curves import label, lines_of, points_of, pruned, shares, splits
from prune_heads.reporting.figures.style import canvas, grid_of_panels
from prune_heads.reporting.sweep_results import panels as panels_of_sweep
from prune_heads.reporting.sweep_results import seeds_sentence
from prune_heads.reporting.words import metric_name, whose

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
Range = tuple[Sequence[float], Sequence[float]]

_MARKERS = "os^Dv"
_DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))
"""One a line, so that one which lies on another does not hide it."""
_BARS = "bars: 95% interval of the metric"


@dataclass(frozen=True)
class _Curve:
    """One line."""

    name: str
    x: Sequence[float]
    """Share of heads pruned, in percent."""
    y: Sequence[float]
    number: int = 0
    """Which colour and marker; lines of one number look alike in all panels."""
    bars: Range | None = None
    """Lower and upper ends of the intervals of its points."""
    band: Range | None = None
    colour: Any = None
    """None for that of its number."""


@dataclass(frozen=True)
class _Panel:
    """One pair of axes."""

    title: str
    metric: str
    curves: Sequence[_Curve]
    of: str = "heads pruned"
    """What the share is of."""


def curve_figure(record: Record) -> "Figure":
    """The headline metric of `prune-heads run --curve`, a line a split (paper, figure 3)."""
    (line,) = lines_of(record)
    curves = [_plain(record, points_of(line, split), split, i) for i, split in enumerate(splits(record))]
    return _drawn([_Panel(whose(record), metric_name(record), curves)])


def criteria_figure(record: Record) -> "Figure":
    """The lines of `prune-heads curve`, a panel a split.

    A band holds 95% of several draws around their mean; bars are the interval of the metric of a single draw.
    """
    shown = [
        _Panel(
            split,
            metric_name(record),
            [_of_line(record, line, split, label(line, split), i) for i, line in enumerate(record["lines"])],
            pruned(record),
        )
        for split in splits(record)
    ]
    drawn_often = any(line["n_draws"] > 1 for line in record["lines"])
    foot = f"{_BARS}; band: 95% of the draws, and their mean" if drawn_often else _BARS
    return _drawn(shown, title=whose(record), foot=foot)


def subjects_figure(by_task: Mapping[str, Sequence[Record]]) -> "Figure":
    """The first line of records of `prune-heads curve`, a panel a task (paper, figure 6).

    Args:
        by_task: Task -> a record a model; of several, e.g. fine-tunings by seed, their mean is drawn, with a band
            from the lowest to the highest.
    """
    shown = []
    for task, same in by_task.items():
        first = same[0]
        split, line = splits(first)[0], first["lines"][0]
        curve = _of_line(first, line, split, label(line, split)) if len(same) == 1 else _mean_of(same)
        title = whose(first) if len(same) == 1 else f"{len(same)} models on {task}"
        shown.append(_Panel(title, metric_name(first), [curve], pruned(first)))
    several = any(len(same) > 1 for same in by_task.values())
    return _drawn(shown, foot=f"{_BARS}; band: the lowest to the highest of several models" if several else _BARS)


def epochs_figure(trainings: Mapping[str, Mapping[int, Record]]) -> "Figure":
    """The first line of records of checkpoints: a panel a training, a line an epoch, light to dark (paper, figure 5).

    Args:
        trainings: Name -> epoch -> record of `prune-heads curve`.
    """
    import matplotlib

    colours = matplotlib.colormaps["viridis_r"]
    shown = []
    for name, records in trainings.items():
        curves = []
        for i, (epoch, record) in enumerate(records.items()):
            points = points_of(record["lines"][0], splits(record)[0])
            colour = colours(0.1 + 0.9 * i / max(1, len(records) - 1))
            curves.append(replace(_plain(record, points, f"epoch {epoch}", i), colour=colour))
        shown.append(_Panel(f"{name} on {record['task']}", metric_name(record), curves))
    return _drawn(shown, has_base=False)


def kinds_figure(records: Mapping[str, Record]) -> "Figure":
    """The first line of each record by the name of its kind of attention, in one panel (paper, figure 4)."""
    first = next(iter(records.values()))
    split = splits(first)[0]
    curves = [_of_line(record, record["lines"][0], split, name, i) for i, (name, record) in enumerate(records.items())]
    shown = _Panel(f"{whose(first)}, {split}", metric_name(first), curves, "heads of one kind pruned")
    return _drawn([shown], foot=_BARS)


def estimator_curves(records: Sequence[Record]) -> "Figure":
    """A panel a subject, a line an estimator."""
    shown = []
    for record in records:
        curves = [_plain(record, line["points"], line["estimator"], i) for i, line in enumerate(record["lines"])]
        shown.append(_Panel(whose(record), metric_name(record), curves))
    return _drawn(shown, columns=4)


def sweep_figure(name: str, rows: Sequence[Record]) -> "Figure":
    """A panel a task, model and split; a line a criterion and whatever else varies.

    Args:
        name: Of the sweep.
        rows: As `result_rows` gives them.
    """
    found = panels_of_sweep(rows)
    lines = list(dict.fromkeys(line for panel in found for line in panel.lines))
    shown = []
    for panel in found:
        curves = []
        for line, points in panel.lines.items():
            values = list(points.values())
            band = (list(map(min, values)), list(map(max, values)))
            curves.append(_Curve(line, list(points), list(map(mean, values)), lines.index(line), band=band))
        shown.append(_Panel(panel.title, panel.metric, curves))
    seeds = seeds_sentence(rows)
    return _drawn(shown, title=name, foot=f"with a band: {seeds}" if seeds else "", has_base=False)


def _plain(record: Record, points: Sequence[Record], name: str, number: int) -> _Curve:
    return _Curve(name, shares(points, record), [point["value"] for point in points], number)


def _of_line(record: Record, line: Record, split: str, name: str, number: int = 0) -> _Curve:
    """A line of `prune-heads curve`; the mean of several draws is grey, with a band."""
    points = points_of(line, split)
    ends = [point["low"] for point in points], [point["high"] for point in points]
    plain = _plain(record, points, name, number)
    return replace(plain, band=ends, colour="0.45") if line["n_draws"] > 1 else replace(plain, bars=ends)


def _mean_of(same: Sequence[Record]) -> _Curve:
    """The mean of the points of several models at the shares that were asked of all of them."""
    every = []
    for record in same:
        points = points_of(record["lines"][0], splits(record)[0])
        places = zip(shares(points, record), (point["value"] for point in points), strict=True)
        every.append(dict(zip((point["percent"] for point in points), places, strict=True)))
    asked = [percent for percent in every[0] if all(percent in each for each in every)]
    x = [mean(each[percent][0] for each in every) for percent in asked]
    first = same[0]
    columns = [[each[percent][1] for each in every] for percent in asked]
    return _Curve(
        label(first["lines"][0], splits(first)[0]),
        x,
        list(map(mean, columns)),
        band=(list(map(min, columns)), list(map(max, columns))),
    )


def _drawn(
    shown: Sequence[_Panel], *, title: str = "", foot: str = "", columns: int = 3, has_base: bool = True
) -> "Figure":
    """Panels in rows, with one legend below them; a dotted line where each curve begins, if `has_base`."""
    n_columns = 2 if len(shown) == 4 and columns == 3 else min(columns, len(shown))
    n_rows = -(-len(shown) // n_columns)
    with canvas(1.0 + (4.0 if len(shown) > 1 else 5.2) * n_columns, 1.2 + 3.1 * n_rows) as figure:
        every = grid_of_panels(figure, len(shown), n_columns)
        for axes, panel in zip(every, shown, strict=True):
            for curve in panel.curves:
                _draw(axes, curve)
            for base in {curve.y[0] for curve in panel.curves} if has_base else ():
                axes.axhline(base, color="0.5", linewidth=0.8, linestyle=":")
            axes.set(xlabel=f"{panel.of} (%), lowest score first", ylabel=panel.metric, xlim=(-2, 102))
            axes.set_title(panel.title, fontsize=10)
            axes.grid(axis="y", alpha=0.3)
        names = {name: handle for axes in every for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        if title:
            figure.suptitle(title, fontsize=11)
        if len(names) > 1:
            _add_legend(figure, names, foot)
        elif foot:
            figure.supxlabel(foot, fontsize=8)
    return figure


def _add_legend(figure: "Figure", names: Mapping[str, Any], foot: str) -> None:
    """Below the panels, as wide as they are at most; the foot is its title, so that neither lies on the other."""
    n_columns = int(figure.get_figwidth() / (0.9 + 0.085 * max(map(len, names))))
    figure.legend(
        names.values(),
        names,
        loc="outside lower center",
        ncols=max(1, min(n_columns, len(names))),
        frameon=False,
        title=foot or None,
        title_fontsize=8,
    )


def _draw(axes: "Axes", curve: _Curve) -> None:
    i = curve.number
    colour = f"C{i}" if curve.colour is None else curve.colour
    (line,) = axes.plot(curve.x, curve.y, label=curve.name, color=colour)
    line.set_linestyle(_DASHES[i % len(_DASHES)])
    line.set(marker=_MARKERS[i % len(_MARKERS)], markersize=max(3.0, 6.0 - 0.6 * i))
    if curve.band is not None:
        axes.fill_between(curve.x, *curve.band, color=colour, alpha=0.18, linewidth=0)
    if curve.bars is not None:
        axes.vlines(curve.x, *curve.bars, color=colour, linewidth=1, alpha=0.5)
