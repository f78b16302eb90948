"""Curves: the metric against the share of heads pruned."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from prune_heads.reporting.curves import label, points_of, pruned, shares, splits
from prune_heads.reporting.figures.style import MARKERS, canvas, head_panels
from prune_heads.reporting.words import metric_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curve_figure(record: Mapping[str, Any]) -> "Figure":
    """The headline metric against the share of heads pruned, a line a split (paper, figure 3)."""
    points, metric = record["curve"], record["headline"]
    with canvas(6, 3.8) as figure:
        axes = figure.add_subplot()
        for i, split in enumerate(dict.fromkeys(point["split"] for point in points)):
            own = [point for point in points if point["split"] == split]
            x, y = shares(own, record), [point[metric] for point in own]
            (line,) = axes.plot(x, y, marker=MARKERS[i % len(MARKERS)], label=split)
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


def criteria_figure(record: Mapping[str, Any]) -> "Figure":
    """The headline metric against the share of heads pruned, a line a criterion and a panel a split.

    A band holds 95% of several draws around their mean; bars are the interval of the metric of a single draw.
    """
    on, metric = splits(record), metric_name(record)
    with canvas(5.6 * len(on), 5.0) as figure:
        panels = list(figure.subplots(1, len(on), squeeze=False, sharey=True)[0])
        for axes, split in zip(panels, on, strict=True):
            base = points_of(record["lines"][0], split)[0]["value"]
            axes.axhline(base, color="0.5", linewidth=0.8, linestyle=":")
            for i, line in enumerate(record["lines"]):
                _draw(axes, record, line, split, label(line, split), i)
            axes.set(xlabel=f"{pruned(record)} (%), lowest score first", xlim=(-2, 102))
            axes.set_xticks(range(0, 101, 10))
            axes.grid(axis="y", alpha=0.3)
            axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
        panels[0].set_ylabel(metric)
        drawn_often = any(line["n_draws"] > 1 for line in record["lines"])
        figure.supxlabel(
            "bars: 95% interval of the metric"
            + ("; band: 95% of the draws, and their mean" if drawn_often else ""),
            fontsize=8,
        )
        head_panels(figure, panels, f"{record['model']['name']} on {record['task']}", on)
    return figure


def subjects_figure(by_task: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """The first line of records of `prune-heads curve`, a panel a task (paper, figure 6).

    Args:
        by_task: Task -> a record a model; of several, e.g. fine-tunings by seed, their mean is drawn, with a band
            from the least to the most.
    """
    n = len(by_task)
    columns = 2 if n == 4 else min(3, n)
    with canvas(4.2 * columns, 3.4 * -(-n // columns)) as figure:
        panels = list(figure.subplots(-(-n // columns), columns, squeeze=False).flat)
        for axes, same in zip(panels, by_task.values(), strict=False):
            record = same[0]
            split, line = splits(record)[0], record["lines"][0]
            if len(same) == 1:
                _draw(axes, record, line, split, label(line, split), 0)
            else:
                _draw_mean(axes, same)
            axes.axhline(axes.lines[0].get_ydata()[0], color="0.5", linewidth=0.8, linestyle=":")
            axes.set(xlabel=f"{pruned(record)} (%), lowest score first", xlim=(-2, 102))
            axes.set_ylabel(metric_name(record))
            whose = record["model"]["name"] if len(same) == 1 else f"{len(same)} models"
            axes.set_title(f"{whose} on {record['task']}", fontsize=10)
            axes.grid(axis="y", alpha=0.3)
        for axes in panels[n:]:
            axes.set_visible(False)
        of_several = (
            "; band: the least to the most of several models"
            if any(len(same) > 1 for same in by_task.values())
            else ""
        )
        figure.supxlabel(f"bars: 95% interval of the metric{of_several}", fontsize=8)
    return figure


def epochs_figure(trainings: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> "Figure":
    """The first line of records of checkpoints: a panel a training, a line an epoch, light to dark (paper, figure 5).

    Args:
        trainings: Name -> epoch -> record of `prune-heads curve`.
    """
    import matplotlib

    n = len(trainings)
    with canvas(4.9 * n, 3.9) as figure:
        panels = list(figure.subplots(1, n, squeeze=False, sharey=True)[0])
        for axes, (name, records) in zip(panels, trainings.items(), strict=True):
            colours = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, len(records)))
            for i, (epoch, record) in enumerate(records.items()):
                points = points_of(record["lines"][0], splits(record)[0])
                axes.plot(
                    shares(points, record),
                    [point["value"] for point in points],
                    marker=MARKERS[i % len(MARKERS)],
                    markersize=4,
                    color=colours[i],
                    label=f"epoch {epoch}",
                )
            axes.set(xlabel="heads pruned (%), lowest score first", xlim=(-2, 102))
            axes.set_title(f"{name} on {record['task']}", fontsize=10)
            axes.grid(axis="y", alpha=0.3)
        panels[0].set_ylabel(metric_name(record))
        panels[0].legend(frameon=False)
    return figure


def kinds_figure(records: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """The first line of each record by the name of its kind of attention, in one panel (paper, figure 4)."""
    first = next(iter(records.values()))
    split = splits(first)[0]
    with canvas(6, 4.2) as figure:
        axes = figure.add_subplot()
        base = points_of(first["lines"][0], split)[0]["value"]
        axes.axhline(base, color="0.5", linewidth=0.8, linestyle=":")
        for i, (name, record) in enumerate(records.items()):
            _draw(axes, record, record["lines"][0], split, name, i)
        axes.set(
            xlabel="heads of one kind pruned (%), lowest score first",
            ylabel=metric_name(first),
            xlim=(-2, 102),
            xticks=range(0, 101, 10),
        )
        axes.grid(axis="y", alpha=0.3)
        axes.legend(frameon=False, loc="best")
        figure.supxlabel("bars: 95% interval of the metric", fontsize=8)
        head_panels(figure, [axes], f"{first['model']['name']} on {first['task']}", [split])
    return figure


def _draw(
    axes: "Axes", record: Mapping[str, Any], line: Mapping[str, Any], split: str, name: str, i: int
) -> None:
    points = points_of(line, split)
    x = shares(points, record)
    y, low, high = ([point[key] for point in points] for key in ("value", "low", "high"))
    if line["n_draws"] > 1:
        axes.fill_between(x, low, high, color="0.82", linewidth=0, zorder=0)
        axes.plot(x, y, color="0.45", linestyle="--", label=name)
        return
    (drawn,) = axes.plot(x, y, marker=MARKERS[i % len(MARKERS)], markersize=5, label=name)
    axes.vlines(x, low, high, color=drawn.get_color(), linewidth=1, alpha=0.5)


def _draw_mean(axes: "Axes", same: Sequence[Mapping[str, Any]]) -> None:
    """The mean of the points of several models at the shares that were asked of all of them."""
    every = []
    for record in same:
        points = points_of(record["lines"][0], splits(record)[0])
        places = zip(shares(points, record), (point["value"] for point in points), strict=True)
        every.append(dict(zip((point["percent"] for point in points), places, strict=True)))
    asked = [percent for percent in every[0] if all(percent in each for each in every)]
    x = [mean(each[percent][0] for each in every) for percent in asked]
    columns = [[each[percent][1] for each in every] for percent in asked]
    (drawn,) = axes.plot(x, list(map(mean, columns)), marker=MARKERS[0], markersize=5)
    axes.fill_between(
        x,
        list(map(min, columns)),
        list(map(max, columns)),
        color=drawn.get_color(),
        alpha=0.2,
        linewidth=0,
    )
