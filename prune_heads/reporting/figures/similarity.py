"""Pairs of heads in figures."""

from typing import TYPE_CHECKING, Any

import numpy as np

from prune_heads.reporting.figures import drawing, name_points
from prune_heads.reporting.words import Record, whose, with_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_NAMED = 5  # pairs that are named, those that interact most


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
            axes.locator_params(axis="x", nbins=6)  # numbers of four digits need their room
            named = [f"{row['first']} {row['second']}" for row in rows[:_N_NAMED]]
            name_points(figure, axes, np.stack([x, y], axis=1), named, 8)
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
