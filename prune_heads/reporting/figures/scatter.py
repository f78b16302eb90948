"""Two measurements of the same heads against each other (paper, figure 2); a point is a head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.reporting.figures.style import canvas, grid_of, grid_of_panels, head_panels
from prune_heads.reporting.words import interval
from prune_heads.studies.correlating import LOSS, SCORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMED = 3
"""Heads that are named, the farthest from the middle, where there is room."""

_ROOM = (0.08, 0.03)
"""Width and height of a name, as shares of the axes."""

_COLOURS = {"": "#31688e", "E": "#31688e", "A": "#d1495b", "D": "#e0a030"}
"""By kind of blocks."""


@dataclass(frozen=True)
class Side:
    """One of the two measurements."""

    label: str
    rows: Sequence[Sequence[float | None]]
    """One row a block; None where a head was not measured."""
    scale: float = 1.0
    """What the numbers are multiplied with, e.g. 100 for points."""
    zero_line: bool = True
    """Whether zero divides heads that help from heads that harm."""


@dataclass(frozen=True)
class Pair:
    """A panel: two measurements and their correlation."""

    x: Side
    y: Side
    correlation: Mapping[str, Any]
    """What `correlate` gives, or more."""


def scatter(title: str, pairs: Sequence[Pair], names: Sequence[str] | None = None) -> "Figure":
    """A panel a pair, headed by its Pearson correlation; in an encoder-decoder, a colour a kind of blocks.

    Args:
        title: Above all panels.
        pairs: At least one.
        names: Of the blocks, `3` or `E:3`; numbers for None.
    """
    with canvas(4.9 * len(pairs), 5.3) as figure:
        panels = grid_of_panels(figure, len(pairs), len(pairs))
        for axes, pair in zip(panels, pairs, strict=True):
            x, y = (grid_of(side.rows) * side.scale for side in (pair.x, pair.y))
            for side, line in ((pair.x, axes.axvline), (pair.y, axes.axhline)):
                if side.zero_line:
                    line(0, color="0.6", linewidth=0.8)
            named = [str(block + 1) for block in range(len(x))] if names is None else names
            _draw(axes, x, y, [name.rpartition(":")[0] for name in named])
            _name_the_farthest(axes, x, y, named)
            axes.set(xlabel=pair.x.label, ylabel=pair.y.label, box_aspect=1)
            axes.margins(0.08)
        names = [f"Pearson r {interval(pair.correlation, 'pearson')}" for pair in pairs]
        head_panels(figure, panels, title, names)
    return figure


def correlation_scatter(record: Mapping[str, Any], pair: Mapping[str, Any]) -> "Figure":
    """A pair of `prune-heads correlate`; differences in points, as losses where they are compared as losses.

    Args:
        record: With the `series`.
        pair: One of its `correlations`.
    """
    series = {series["name"]: series for series in record["series"]}

    def side(which: str) -> Side:
        name, measure = pair[which], pair[f"{which}_measure"]
        values = series[name]["values"]
        if measure == SCORE:
            return Side(f"{name}:\n{measure}", values, zero_line=False)
        return Side(f"{name}:\n{measure} (points)", values, -100 if measure == LOSS else 100)

    return scatter(f"{pair['n_heads']} heads", [Pair(side("first"), side("second"), pair)])


def _draw(axes: "Axes", x: NDArray[np.float64], y: NDArray[np.float64], kinds: Sequence[str]) -> None:
    """A point a head, `kinds` being E, A or D of each block, or empty."""
    for kind in dict.fromkeys(kinds):
        own = [i for i, each in enumerate(kinds) if each == kind]
        (drawn,) = axes.plot(x[own].ravel(), y[own].ravel(), "o", label=kind, color=_COLOURS[kind])
        drawn.set(markersize=4.5, alpha=0.7, markeredgewidth=0)
    if len(set(kinds)) > 1:
        axes.legend(frameon=False, loc="best")


def _name_the_farthest(axes: "Axes", x: NDArray[np.float64], y: NDArray[np.float64], names: Sequence[str]) -> None:
    """Far is what looks far: each axis counts by its own spread, for the two may have different units."""
    measured = ~(np.isnan(x) | np.isnan(y))
    places = np.full((*x.shape, 2), np.nan)
    for axis, values in enumerate((x, y)):
        places[measured, axis] = _spread(values[measured])
    far = np.where(measured, np.hypot(*np.moveaxis(places, -1, 0)), 0.0)
    for index in np.argsort(-far, axis=None, kind="stable")[:_NAMED]:
        layer, head = np.unravel_index(index, far.shape)
        right, up = np.moveaxis(places - places[layer, head], -1, 0)
        if far[layer, head] == 0 or ((right > 0) & (right < _ROOM[0]) & (np.abs(up) < _ROOM[1])).any():
            continue  # the name would lie on another head
        axes.annotate(
            f"{names[layer]}:{head + 1}",
            (x[layer, head], y[layer, head]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - np.median(values)) / (np.ptp(values) or 1.0))
