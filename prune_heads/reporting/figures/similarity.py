"""Pairs of heads in figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from prune_heads.reporting.figures import drawing
from prune_heads.reporting.words import Record, whose, with_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_N_NAMED = 5  # pairs that are named, those that interact most
_SIDES = ((5, 0, "left", "center"), (-5, 0, "right", "center"), (0, 5, "center", "bottom"), (0, -5, "center", "top"))


def pairs_figure(record: Record) -> "Figure":
    """The interaction of each pair against the smaller of its heads' own losses, a panel a split; a point is a pair.

    Bars are 95% intervals. Pairs above zero stand in for each other: far left, each looks useless alone. Pairs that
    interact after Holm's correction are filled.
    """
    tables = record["pairs"]
    with drawing(5.2 * len(tables), 4.6, len(tables), len(tables)) as (figure, panels):
        figure.suptitle(f"{whose(record)}: pairs of heads", fontsize=11)
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
            axes.set_title(with_number(table["split"], table["n_examples"]), fontsize=10)
            axes.margins(0.12)
            _name(axes, np.stack([x, y], axis=1), [f"{row['first']} {row['second']}" for row in rows[:_N_NAMED]], 8)
    return figure


def similarity_figure(record: Record) -> "Figure":
    """Of each group of heads the distances, and their places in a plane, in the colours of their layers."""
    from scipy.spatial.distance import squareform

    groups = record["groups"]
    with drawing(11.5, 5.2 * len(groups), 2 * len(groups), 2) as (figure, panels):
        figure.suptitle(f"{whose(record)}, n = {record['n_examples']:,}: how alike heads are", fontsize=11)
        for left, right, group in zip(panels[::2], panels[1::2], groups, strict=True):
            layers, listed = [head.rpartition(":")[0] for head in group["heads"]], np.array(group[group["by"]])
            names = list(dict.fromkeys(layers))
            is_map, starts = group["by"] == "js", np.array([layers.index(name) for name in names]) - 0.5
            image = left.imshow(squareform(listed if is_map else 1 - listed), cmap="viridis_r")
            left.set_xticks(starts, names, ha="left")
            left.set_yticks(starts, names, va="top")
            left.set(xlabel="layer, heads in order", ylabel="layer")
            label = "Jensen-Shannon divergence of maps (nats)" if is_map else "1 - CKA of outputs"
            figure.colorbar(image, cax=left.inset_axes((1.03, 0, 0.04, 1)), label=label)
            shades = {"c": list(map(names.index, layers)), "vmin": 0, "vmax": max(1, len(names) - 1) / 0.92}
            drawn = right.scatter(*np.transpose(group["places"]), s=36, alpha=0.85, **shades)
            right.set_title(f"places that show {group['shown']:.0%} of the squared distances", fontsize=10)
            titles = [f"layer {name}" for name in names]
            looks = {"frameon": False, "fontsize": 8, "loc": "center left", "bbox_to_anchor": (1, 0.5)}
            right.legend(drawn.legend_elements(num=None)[0], titles, **looks)
            right.margins(0.08)
            right.set_aspect("equal", adjustable="datalim")
            _name(right, group["places"], group["heads"], 6.5)
    return figure


def _name(axes: "Axes", points: ArrayLike, names: Sequence[str], size: float) -> None:
    """Name the first points, each on a side where its name covers no point and no name; there may be none."""
    from matplotlib.transforms import Bbox

    axes.get_figure().draw_without_rendering()  # settles how large the axes are
    at = axes.transData.transform(points)
    taken = [Bbox([place - 4, place + 4]) for place in at]
    for point, name in zip(np.asarray(points), names, strict=False):
        text = axes.annotate(name, point, xytext=(0, 0), textcoords="offset points", fontsize=size)
        for right, up, ha, va in _SIDES:
            text.set(position=(right, up), ha=ha, va=va)
            if not (box := text.get_window_extent()).count_overlaps(taken):
                taken.append(box)
                break
        else:
            text.remove()
