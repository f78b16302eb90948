"""Curves: the metric against the share of heads pruned, by whatever was compared. One way to draw them all."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prune_heads.reporting.curves import REACHED, Line, lines, pruned, reached
from prune_heads.reporting.figures import Figure, drawing, name_panels
from prune_heads.reporting.figures.looks import ATTENTION_LOOKS, Look, looks_of, shaded
from prune_heads.reporting.sweep_results import panels as panels_of_sweep
from prune_heads.reporting.sweep_results import seeds_sentence
from prune_heads.reporting.words import ATTENTION, Record, metric_name, metric_title, task_title, whose

Numbers = Sequence[float] | NDArray[np.float64]

_BARS = "bars: 95% interval of the metric"
_APART = 0.6  # percent between the bars of two lines
_UNKNOWN = "; a curve without bars: its record has no intervals"


class Curve(NamedTuple):
    """One line, with an interval of each point."""

    name: str
    x: Numbers  # share of heads pruned, in percent
    y: Numbers
    look: Look
    ends: tuple[Numbers, Numbers] | NDArray[np.float64] | None = None  # lower and upper ends
    is_band: bool = False  # else the ends are bars


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    metric: str
    curves: Sequence[Curve]
    of: str = "heads pruned"  # what the share is of
    marks: Mapping[str, float | None] = {}  # style of a vertical line -> where it stands, in percent


def curve_figure(record: Record) -> Figure:
    """The headline metric of `prune-heads run --curve`, a line a split in shades of one colour (paper, figure 3)."""
    named = {line.measured_on: line for (line,) in lines(record).values()}
    first = next(iter(named.values()))
    title = f"{whose(record)}: pruned by {first.label}" + (f"\n{first.measured_on}" if len(named) == 1 else "")
    return drawn([_panel(title, named, _shades(first, list(named)))], foot=_BARS)


def criteria_figure(record: Record) -> Figure:
    """The lines of `prune-heads curve`, a panel a split.

    A band holds 95% of several draws around their mean; bars are the interval of the metric of a single draw.
    """
    shown = [_panel(same[0].measured_on, {line.label: line for line in same}) for same in lines(record).values()]
    band = "; band: 95% of the draws, and their mean" if any(line["n_draws"] > 1 for line in record["lines"]) else ""
    return drawn(shown, title=whose(record), foot=_BARS + band)


def subjects_figure(by_task: Mapping[str, Sequence[Line]], of_seeds: Mapping[str, Record] = {}) -> Figure:
    """A panel a task, of its models' lines of `prune-heads curve` (paper, figure 6).

    Of several the mean is drawn, with a band from the lowest to the highest; of fine-tunings by seed, with a record in
    `of_seeds`, the band is the interval of the mean. Lines mark how far a loss below a margin is shown and refuted.
    """
    shown = []
    for task, same in by_task.items():
        panel = _panel(_titled(same[0]), {same[0].label: same[0]})
        seeds, kept = of_seeds.get(task), same[0].kept
        if len(same) > 1:
            kept = seeds and seeds["kept"]
            title = f"{len(seeds['models'] if seeds else same)} models on {task_title(task)}\n{same[0].measured_on}"
            panel = panel._replace(title=title, curves=[_mean_of(same, panel.curves[0].look, seeds)])
        at = reached(kept, same[0].shares)
        shown.append(panel._replace(marks={"-": at[REACHED[0]], "--": at[REACHED[2]]}))
    several = {task in of_seeds for task, same in by_task.items() if len(same) > 1}
    foot = _BARS + ("; band: the lowest to the highest of several models" if False in several else "")
    foot += "; band: 95% interval of the mean over seeds" if True in several else ""
    if any(at is not None for panel in shown for at in panel.marks.values()):
        foot += "\na loss below the margin is shown up to the solid line, refuted from the dashed one"
    return drawn(shown, title=f"pruned by {same[0].label}", foot=foot)


def epochs_figure(trainings: Mapping[str, Mapping[int, Line]]) -> Figure:
    """A panel a training, a line of `prune-heads curve` an epoch, in shades from light to dark (paper, figure 5)."""
    shown = []
    for name, epochs in trainings.items():
        first = next(iter(epochs.values()))
        named = {f"epoch {epoch}": line for epoch, line in epochs.items()}
        title = f"{name} on {task_title(first.record['task'])}\n{first.measured_on}"
        shown.append(_panel(title, named, _shades(first, [*reversed(named)])))
    return drawn(shown, title=f"pruned by {first.label}", foot=_BARS, has_base=False)


def kinds_figure(kinds: Mapping[str, Line]) -> Figure:
    """A line a kind of attention, by its letter, in one panel (paper, figure 4)."""
    named = {ATTENTION[letter]: line for letter, line in kinds.items()}
    looks = {ATTENTION[letter]: ATTENTION_LOOKS[letter] for letter in kinds}
    panel = _panel(_titled(next(iter(kinds.values()))), named, looks)
    return drawn([panel._replace(of="heads of one kind pruned")], foot=_BARS)


def estimator_curves(records: Sequence[Record]) -> Figure:
    """A panel a subject, a line an estimator."""
    found = [of_split for record in records for of_split in lines(record).values()]
    shown = [_panel(_titled(same[0]), {line.about["estimator"]: line for line in same}) for same in found]
    is_whole = all(line.ends for same in found for line in same)
    return drawn(shown, foot=_BARS if is_whole else _BARS + _UNKNOWN)


def sweep_figure(name: str, rows: Sequence[Record]) -> Figure:
    """A panel a task, model and split of a sweep; a line a criterion and whatever else varies in `result_rows`.

    Bars are intervals of the difference to all heads, drawn around the point; of several seeds there is a band.
    """
    found = panels_of_sweep(rows)
    looks = looks_of(dict.fromkeys(line for panel in found for line in panel.lines))
    shown = []
    for panel in found:
        curves = []
        for line, points in panel.lines.items():
            ends = panel.ends[line]
            is_band = len(ends) < len(points)
            pairs = [(min(points[at]), max(points[at])) if is_band else ends[at] for at in points]
            middle = list(map(mean, points.values()))
            curves.append(Curve(line, list(points), middle, looks[line], np.transpose(pairs), is_band))
        title = f"{' / '.join(map(task_title, panel.title.split(' / ')))}\nn = {panel.n_examples:,}"
        shown.append(Panel(title, metric_title(panel.rows[0]["metric"]), curves))
    seeds = seeds_sentence(rows)
    band = f"\nwith a band: {seeds}" if seeds else ""
    return drawn(shown, title=name, foot=f"bars: 95% interval of the difference to all heads{band}", has_base=False)


def _panel(title: str, named: Mapping[str, Line], looks: Mapping[str, Look] | None = None) -> Panel:
    """Lines of one metric by their names, with bars where their intervals are known; of several draws, a band."""
    looks = looks or looks_of(named)
    curves = [
        Curve(name, line.shares, list(line.values.values()), looks[name], line.ends, line.about.get("n_draws", 1) > 1)
        for name, line in named.items()
    ]
    record = next(iter(named.values())).record
    return Panel(title, metric_name(record), curves, pruned(record))


def _titled(line: Line) -> str:
    """Of which model, on what, and how many examples."""
    return f"{whose(line.record)}\n{line.measured_on}"


def _shades(line: Line, names: Sequence[str]) -> dict[str, Look]:
    return dict(zip(names, shaded(looks_of([line.label])[line.label], len(names)), strict=True))


def _mean_of(same: Sequence[Line], look: Look, seeds: Record | None) -> Curve:
    """The mean of several models at the shares that were asked of all of them, in a band from lowest to highest.

    Of a record of seeds its intervals are the band.
    """
    if seeds is not None:
        of = {key: [point[key] for point in seeds["points"]] for key in ("value", "low", "high")}
        return Curve(same[0].label, same[0].shares, of["value"], look, (of["low"], of["high"]), is_band=True)
    asked = [percent for percent in same[0].values if all(percent in line.values for line in same)]
    shares = [dict(zip(line.values, line.shares, strict=True)) for line in same]
    x = np.mean([[of_line[percent] for percent in asked] for of_line in shares], axis=0)
    values = np.array([[line.values[percent] for percent in asked] for line in same])
    return Curve(same[0].label, x, values.mean(0), look, np.stack((values.min(0), values.max(0))), is_band=True)


def drawn(shown: Sequence[Panel], *, foot: str, title: str = "", has_base: bool = True) -> Figure:
    """Panels in rows, with one legend below them; a dotted line where each curve begins, if `has_base`."""
    n_columns = 2 if len(shown) == 4 else min(3, len(shown))
    width, height = 0.4 + (3.2 if len(shown) > 1 else 5.2) * n_columns, 0.8 + 2.9 * -(-len(shown) // n_columns)
    with drawing(width, height, len(shown), n_columns) as (figure, every):
        for axes, panel in zip(every, shown, strict=True):
            for i, curve in enumerate(panel.curves):
                colour, dash, marker, is_open = curve.look
                looks: dict[str, Any] = {"color": colour, "linestyle": dash, "marker": marker, "linewidth": 1.4}
                looks |= {"markersize": max(3.0, 5.0 - 0.4 * i), "markerfacecolor": "white" if is_open else colour}
                axes.plot(curve.x, curve.y, label=curve.name, **looks)
                if curve.ends is not None and curve.is_band:
                    axes.fill_between(curve.x, *curve.ends, color=colour, alpha=0.18, linewidth=0)
                elif curve.ends is not None:  # bars stand beside each other, so that none hides another
                    beside = [x + _APART * (i - (len(panel.curves) - 1) / 2) for x in curve.x]
                    axes.vlines(beside, *curve.ends, color=colour, linewidth=1, alpha=0.6, zorder=1.5)
            for base in {curve.y[0] for curve in panel.curves} if has_base else ():
                axes.axhline(base, color="0.5", linewidth=0.8, linestyle=":")
            for style, at in panel.marks.items():
                if at is not None:
                    axes.axvline(at, color="0.3", linewidth=1, linestyle=style, zorder=1)
            axes.set(xlabel=f"{panel.of} (%), lowest score first", ylabel=panel.metric, xlim=(-3, 103))
            axes.grid(axis="y", alpha=0.3)
        names = {name: handle for axes in every for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        name_panels(figure, every, title, [panel.title for panel in shown], 10)
        if len(names) > 1:  # a legend as wide as the panels at most; the foot is its title and lies below it
            n_beside = max(1, min(int(width / (0.75 + 0.075 * max(map(len, names)))), len(names)))
            looks = {"frameon": False, "fontsize": 9, "title": foot, "title_fontsize": 8, "handlelength": 3.2}
            legend = figure.legend(names.values(), names, ncols=n_beside, loc="outside lower center", **looks)
            legend.get_title().set_multialignment("center")
        else:
            figure.supxlabel(foot, fontsize=8)
    return figure
