"""Curves: the metric against the share of heads pruned, by whatever was compared. One way to draw them all."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from prune_heads.reporting.curves import Line, lines, pruned
from prune_heads.reporting.figures import drawing
from prune_heads.reporting.sweep_results import panels as panels_of_sweep
from prune_heads.reporting.sweep_results import seeds_sentence
from prune_heads.reporting.words import Record, metric_name, whose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Range = tuple[Sequence[float], Sequence[float]]  # lower and upper ends at each point

_MARKERS = "os^Dv"
_DASHES = ("-", (0, (5, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))
"""One a line, so that one which lies on another does not hide it."""
_BARS = "bars: 95% interval of the metric"


class _Curve(NamedTuple):
    """One line; bars are intervals of its points."""

    name: str
    x: Sequence[float]  # share of heads pruned, in percent
    y: Sequence[float]
    number: int = 0  # which colour and marker; lines of one number look alike in all panels
    bars: Range | None = None
    band: Range | None = None
    colour: Any = None  # None for that of its number


class _Panel(NamedTuple):
    """One pair of axes."""

    title: str
    metric: str
    curves: Sequence[_Curve]
    of: str = "heads pruned"  # what the share is of


def curve_figure(record: Record) -> "Figure":
    """The headline metric of `prune-heads run --curve`, a line a split (paper, figure 3)."""
    return _drawn([_panel(whose(record), {split: line for split, (line,) in lines(record).items()})])


def criteria_figure(record: Record) -> "Figure":
    """The lines of `prune-heads curve`, a panel a split.

    A band holds 95% of several draws around their mean; bars are the interval of the metric of a single draw.
    """
    shown = [_panel(split, {line.label: line for line in of_split}) for split, of_split in lines(record).items()]
    band = "; band: 95% of the draws, and their mean" if any(line["n_draws"] > 1 for line in record["lines"]) else ""
    return _drawn(shown, title=whose(record), foot=_BARS + band)


def subjects_figure(by_task: Mapping[str, Sequence[Line]]) -> "Figure":
    """A panel a task, of its models' lines of `prune-heads curve` (paper, figure 6).

    Of several, e.g. fine-tunings by seed, the mean is drawn, with a band from the lowest to the highest.
    """
    shown = []
    for task, same in by_task.items():
        panel = _panel(whose(same[0].record), {same[0].label: same[0]})
        several = panel._replace(title=f"{len(same)} models on {task}", curves=[_mean_of(same)])
        shown.append(several if len(same) > 1 else panel)
    has_bands = any(len(same) > 1 for same in by_task.values())
    return _drawn(shown, foot=f"{_BARS}; band: the lowest to the highest of several models" if has_bands else _BARS)


def epochs_figure(trainings: Mapping[str, Mapping[int, Line]]) -> "Figure":
    """A panel a training, a line of `prune-heads curve` an epoch, light to dark (paper, figure 5)."""
    import matplotlib

    shown = []
    for name, epochs in trainings.items():
        shades = matplotlib.colormaps["viridis_r"](0.1 + 0.9 * np.arange(len(epochs)) / max(1, len(epochs) - 1))
        title = f"{name} on {next(iter(epochs.values())).record['task']}"
        panel = _panel(title, {f"epoch {epoch}": line for epoch, line in epochs.items()})
        plain = [curve._replace(bars=None, colour=shade) for curve, shade in zip(panel.curves, shades, strict=True)]
        shown.append(panel._replace(curves=plain))
    return _drawn(shown, has_base=False)


def kinds_figure(kinds: Mapping[str, Line]) -> "Figure":
    """A line a kind of attention, by its name, in one panel (paper, figure 4)."""
    first = next(iter(kinds.values()))
    panel = _panel(f"{whose(first.record)}, {first.split}", kinds)
    return _drawn([panel._replace(of="heads of one kind pruned")], foot=_BARS)


def estimator_curves(records: Sequence[Record]) -> "Figure":
    """A panel a subject, a line an estimator."""
    found = ((record, of_split) for record in records for of_split in lines(record).values())
    shown = [_panel(whose(record), {line.about["estimator"]: line for line in of_split}) for record, of_split in found]
    return _drawn(shown, columns=4)


def sweep_figure(name: str, rows: Sequence[Record]) -> "Figure":
    """A panel a task, model and split of a sweep; a line a criterion and whatever else varies in `result_rows`."""
    found = panels_of_sweep(rows)
    names = list(dict.fromkeys(line for panel in found for line in panel.lines))
    shown = []
    for panel in found:
        curves = [_of_several(line, list(at), list(at.values()), names.index(line)) for line, at in panel.lines.items()]
        shown.append(_Panel(panel.title, panel.metric, curves))
    seeds = seeds_sentence(rows)
    return _drawn(shown, title=name, foot=f"with a band: {seeds}" if seeds else "", has_base=False)


def _panel(title: str, named: Mapping[str, Line]) -> _Panel:
    """Lines of one metric by their names, with bars where their record has intervals; of several draws, a grey band."""
    curves = []
    for i, (name, line) in enumerate(named.items()):
        curve = _Curve(name, line.shares, list(line.values.values()), i)
        if "low" in line.points[0]:
            ends = [point["low"] for point in line.points], [point["high"] for point in line.points]
            curve = curve._replace(band=ends, colour="0.45") if line.about["n_draws"] > 1 else curve._replace(bars=ends)
        curves.append(curve)
    record = next(iter(named.values())).record
    return _Panel(title, metric_name(record), curves, pruned(record))


def _of_several(name: str, x: Sequence[float], values: Sequence[Sequence[float]], number: int = 0) -> _Curve:
    """The mean of several values at each point, with a band from the lowest to the highest."""
    return _Curve(name, x, list(map(mean, values)), number, band=(list(map(min, values)), list(map(max, values))))


def _mean_of(same: Sequence[Line]) -> _Curve:
    """The mean of the points of several models at the shares that were asked of all of them."""
    places = [dict(zip(line.values, line.shares, strict=True)) for line in same]
    asked = [percent for percent in places[0] if all(percent in each for each in places)]
    x = [mean(each[percent] for each in places) for percent in asked]
    return _of_several(same[0].label, x, [[line.values[percent] for line in same] for percent in asked])


def _drawn(
    shown: Sequence[_Panel], *, title: str = "", foot: str = "", columns: int = 3, has_base: bool = True
) -> "Figure":
    """Panels in rows, with one legend below them; a dotted line where each curve begins, if `has_base`."""
    n_columns = 2 if len(shown) == 4 and columns == 3 else min(columns, len(shown))
    width, height = 1.0 + (4.0 if len(shown) > 1 else 5.2) * n_columns, 1.2 + 3.1 * -(-len(shown) // n_columns)
    with drawing(width, height, len(shown), n_columns) as (figure, every):
        for axes, panel in zip(every, shown, strict=True):
            for curve in panel.curves:
                i, colour = curve.number, f"C{curve.number}" if curve.colour is None else curve.colour
                looks: dict[str, Any] = {"linestyle": _DASHES[i % len(_DASHES)], "marker": _MARKERS[i % len(_MARKERS)]}
                looks |= {"markersize": max(3.0, 6.0 - 0.6 * i), "color": colour}
                axes.plot(curve.x, curve.y, label=curve.name, **looks)
                if curve.band is not None:
                    axes.fill_between(curve.x, *curve.band, color=colour, alpha=0.18, linewidth=0)
                if curve.bars is not None:
                    axes.vlines(curve.x, *curve.bars, color=colour, linewidth=1, alpha=0.5)
            for base in {curve.y[0] for curve in panel.curves} if has_base else ():
                axes.axhline(base, color="0.5", linewidth=0.8, linestyle=":")
            axes.set(xlabel=f"{panel.of} (%), lowest score first", ylabel=panel.metric, xlim=(-2, 102))
            axes.set_title(panel.title, fontsize=10)
            axes.grid(axis="y", alpha=0.3)
        names = {name: handle for axes in every for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        if title:
            figure.suptitle(title, fontsize=11)
        if len(names) > 1:  # a legend as wide as the panels at most; the foot is its title and lies below it
            n_beside = max(1, min(int(width / (0.9 + 0.085 * max(map(len, names)))), len(names)))
            looks = {"loc": "outside lower center", "frameon": False, "title": foot or None, "title_fontsize": 8}
            figure.legend(names.values(), names, ncols=n_beside, **looks)
        elif foot:
            figure.supxlabel(foot, fontsize=8)
    return figure
