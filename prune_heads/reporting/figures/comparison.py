"""Figures of `prune-heads compare`: quality against cost, and the curves of each task."""

import re
from collections.abc import Mapping
from typing import Any

from prune_heads.reporting.comparison import RANDOM, Summary, summaries
from prune_heads.reporting.figures import Axes, Figure, drawing
from prune_heads.reporting.figures.curves import Curve, Panel, drawn
from prune_heads.reporting.figures.looks import LOOKS, looks_of
from prune_heads.reporting.words import Record, metric_name, whose, with_number

_KINDS: Mapping[str, tuple[str, str]] = {
    "weights": ("weights", "magnitude"),
    "attention": ("attention maps and outputs", "token"),
    "gradients": ("gradients", "example"),
    "derivatives": ("other derivatives", "running sum"),
    "answers": ("answers without a head", "ablation"),
    "masks": ("answers under many masks", "fisher"),
    "updates": ("gates that are learned", "batch"),
    "examples": ("of one's own", "signed"),
}
"""What a criterion looks at -> its words, and whose look its point has."""
_MOST = 8  # lines of a panel
_ASIDE = 1.1  # from one point to the next of the same cost
_APART = 0.045  # of the height, between two names


def cost_figure(record: Record) -> Figure:
    """Gain against passes over the scoring examples, a panel a set of subjects; each point has its name beside it."""
    shown = summaries(record)[:2]
    height = max(3.6, 1.2 + 0.22 * max(len(each.means) for each in shown))
    with drawing(1 + 5.5 * len(shown), height, len(shown), len(shown)) as (figure, every):
        for axes, summary in zip(every, shown, strict=True):
            _points(axes, summary)
        used = {each.looks_at for summary in shown for each in summary.means}
        names = {kind: words for kind, (words, _) in _KINDS.items() if kind in used}
        handles = [every[0].plot([], [], linestyle="", **_mark(kind))[0] for kind in names]
        looks = {"frameon": False, "fontsize": 9, "loc": "outside lower center", "ncols": 3}
        figure.legend(handles, names.values(), **looks)
    return figure


def _mark(kind: str) -> dict[str, Any]:
    look = LOOKS[_KINDS[kind][1]]
    return {"color": look.colour, "marker": look.marker, "markersize": 6}


def _points(axes: Axes, summary: Summary) -> None:
    """Points with bars of 95%, and their names in a column at the right, each led to by a thin line.

    Points of the same cost stand side by side.
    """
    costs, beside = [each.passes for each in summary.means], list[float]()
    for i, each in enumerate(summary.means):
        bars = {"linewidth": 1.2, "capsize": 2, **_mark(each.looks_at)}
        aside = costs[:i].count(each.passes) - (costs.count(each.passes) - 1) / 2
        beside.append(each.passes * _ASIDE**aside)
        axes.errorbar(beside[i], each.value, each.half, **bars)
    most, n = max(each.passes for each in summary.means), len(summary.subjects)
    ticks = [0, *(10**i for i in range(5) if 10**i <= max(10, 2 * most))]
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set(xlim=(-0.3, max(10.0, 2 * most)), ylim=axes.get_ylim(), xlabel="passes over the scoring examples")
    axes.set(ylabel="gain over random orders, points", title=f"mean of {n} subjects" if n > 1 else summary.subjects[0])
    axes.axhline(0, color="0.5", linewidth=0.8, linestyle=":")
    line = {"arrowstyle": "-", "color": "0.75", "linewidth": 0.6, "shrinkA": 2, "shrinkB": 4, "relpos": (0, 0.5)}
    low, high = axes.get_ylim()
    at = 1.0 + _APART
    for i, each in enumerate(summary.means):  # as high as its point, if there is room below the name before it
        at = max(min(at - _APART, (each.value - low) / (high - low)), _APART * (len(summary.means) - 1 - i))
        looks: dict[str, Any] = {"arrowprops": line, "textcoords": "axes fraction", "va": "center", "fontsize": 8}
        axes.annotate(each.criterion, (beside[i], each.value), (1.04, at), annotation_clip=False, **looks)


def curves_figures(record: Record) -> dict[str, Figure]:
    """Name of a file -> the curves of a subject: criteria of a kind a panel, each beside the band of random orders."""
    names = [re.sub("[^A-Za-z0-9]+", "-", each["name"]) for each in record["subjects"]]
    names = [name + f"-{i + 1}" * (names.index(name) < i) for i, name in enumerate(names)]
    return {f"curves-{name}": _curves(each) for name, each in zip(names, record["subjects"], strict=True)}


def _curves(subject: Record) -> Figure:
    *others, random = sorted(subject["criteria"], key=lambda each: each["criterion"] == RANDOM)
    kinds = dict.fromkeys(each["looks_at"] for each in others) if len(others) > _MOST else {"": None}
    panels = {kind: [each for each in others if kind in ("", each["looks_at"])] for kind in kinds}
    looks = looks_of([*(each["criterion"] for of in panels.values() for each in of), RANDOM])
    metric, (data,) = metric_name(subject), subject["data"]

    def curve(each: Record) -> Curve:
        values, low, high = ([point[key] for point in each["points"]] for key in ("value", "low", "high"))
        x = [100 * point["n_pruned"] / max(1, subject["n_heads"]) for point in each["points"]]
        band = (low, high) if each is random else None
        return Curve(each["criterion"], x, values, looks[each["criterion"]], band, is_band=True)

    shown = [Panel(_KINDS[k][0] if k else "", metric, [*map(curve, of), curve(random)]) for k, of in panels.items()]
    foot = "means of the scoring samples; band: 95% of the random orders"
    return drawn(shown, title=f"{whose(subject)}, {with_number(data['split'], data['n_examples'])}", foot=foot)
