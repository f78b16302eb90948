"""Pairs of heads in figures."""

from typing import TYPE_CHECKING

import numpy as np

from prune_heads.reporting.figures import drawing
from prune_heads.reporting.words import Record, whose, with_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_LABELLED = 160  # heads of a group, up to which each is named
_N_NAMED = 5  # pairs that are named, those that interact most


def pairs_figure(record: Record) -> "Figure":
    """The interaction of each pair against the smaller of its heads' own losses, a panel a split; a point is a pair.

    Bars are 95% intervals. Pairs above zero stand in for each other: far left, each looks useless alone. Pairs that
    interact after Holm's correction are filled.
    """
    tables = record["pairs"]
    with drawing(5.2 * len(tables), 4.6, len(tables), len(tables)) as (figure, panels):
        for axes, table in zip(panels, tables, strict=True):
            rows = sorted(table["rows"], key=lambda row: -abs(row["interaction"]))
            x, y, low, high = np.array(
                [
                    (min(row["first_loss"], row["second_loss"]), row["interaction"], row["low"], row["high"])
                    for row in rows
                ]
            ).T
            found = np.array([row["p_holm"] < table["alpha"] for row in rows])
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.vlines(x, low, high, color="0.75", linewidth=0.8, zorder=0)
            axes.plot(x[~found], y[~found], "o", color="#31688e", markerfacecolor="white", markersize=4)
            axes.plot(x[found], y[found], "o", color="#d1495b", markersize=4.5)
            for row, across, up in list(zip(rows, x, y, strict=True))[:_N_NAMED]:
                name = f"{row['first']} {row['second']}"
                axes.annotate(name, (across, up), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
            axes.set(xlabel="smaller loss of the two heads alone (nats an example)", ylabel="interaction (nats)")
            axes.set_title(with_number(table["split"], table["n_examples"]), fontsize=10)
            axes.margins(0.12)
        figure.suptitle(f"{whose(record)}: pairs of heads", fontsize=11)
        figure.supxlabel("filled: after Holm's correction; above 0 they stand in for each other", fontsize=8)
    return figure


def similarity_figure(record: Record) -> "Figure":
    """Of each group of heads the distances, and their places in a plane, in the colours of their layers."""
    import matplotlib

    groups, colours = record["groups"], matplotlib.colormaps["viridis"]
    with drawing(11.5, 5.2 * len(groups), 2 * len(groups), 2) as (figure, panels):
        for left, right, group in zip(panels[::2], panels[1::2], groups, strict=True):
            heads, is_map = group["heads"], group["by"] == "js"
            n, layers = len(heads), [head.rpartition(":")[0] for head in heads]
            distances = np.zeros((n, n))
            listed = np.array(group[group["by"]], dtype=np.float64)
            distances[np.triu_indices(n, 1)] = listed if is_map else 1 - listed
            image = left.imshow(distances + distances.T, cmap="viridis_r")
            starts = [layers.index(layer) for layer in dict.fromkeys(layers)]
            left.set_xticks(np.array(starts) - 0.5, [layers[i] for i in starts], ha="left")
            left.set_yticks(np.array(starts) - 0.5, [layers[i] for i in starts], va="top")
            left.set(xlabel="layer, heads in order", ylabel="layer")
            label = "Jensen-Shannon divergence of maps (nats)" if is_map else "1 - CKA of outputs"
            figure.colorbar(image, cax=left.inset_axes((1.03, 0, 0.04, 1)), label=label)
            for layer in dict.fromkeys(layers):
                own = [i for i, each in enumerate(layers) if each == layer]
                x, y = np.array(group["places"])[own].T
                shade = colours(starts.index(own[0]) / max(1, len(starts) - 1) * 0.92)
                right.plot(x, y, "o", color=shade, markersize=6, label=f"layer {layer}", alpha=0.85)
                for i, across, up in zip(own, x, y, strict=True) if n <= _N_LABELLED else ():
                    right.annotate(heads[i], (across, up), xytext=(4, 2), textcoords="offset points", fontsize=6.5)
            right.set_title(f"places that show {group['shown']:.0%} of the squared distances", fontsize=10)
            right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
            right.set_aspect("equal", adjustable="datalim")
        figure.suptitle(f"{whose(record)}, n = {record['n_examples']:,}: how alike heads are", fontsize=11)
    return figure
