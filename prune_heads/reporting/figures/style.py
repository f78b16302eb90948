"""What all figures share: one style, and files whose bytes depend on the record alone."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "prune-heads",  # the same record gives the same bytes
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "figure.dpi": 100,
}
_HEADING = 11


@contextmanager
def canvas(width: float, height: float) -> Iterator["Figure"]:
    """A new figure in the common style; sizes in inches. matplotlib is imported here, since few commands draw."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def grid_of_panels(figure: "Figure", n: int, n_columns: int) -> list["Axes"]:
    """So many pairs of axes in rows of `n_columns`."""
    every = list(figure.subplots(-(-n // n_columns), n_columns, squeeze=False).flat)
    for axes in every[n:]:
        axes.set_visible(False)
    return every[:n]


def heads_map(axes: "Axes", grid: NDArray[np.float64], layers: Sequence[str], **colours: Any) -> "AxesImage":
    """One row a layer, one column a head, numbered from 1; colours as `imshow` takes them."""
    image = axes.imshow(grid, aspect="equal", **colours)
    axes.set(xlabel="head", ylabel="layer")
    axes.set_xticks(range(grid.shape[1]), [str(head + 1) for head in range(grid.shape[1])])
    axes.set_yticks(range(len(grid)), layers)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def head_panels(figure: "Figure", panels: Sequence["Axes"], title: str, names: Sequence[str]) -> None:
    """Name each panel, and the figure above them; of a single panel, one title above the other."""
    if len(panels) == 1:
        panels[0].set_title(f"{title}\n{names[0]}", fontsize=_HEADING)
        return
    figure.suptitle(title, fontsize=_HEADING)
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name, fontsize=_HEADING)


def grid_of(rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Ragged rows as a matrix; NaN where there is no head or it was not measured."""
    grid = np.full((len(rows), max(map(len, rows))), np.nan)
    for layer, row in enumerate(rows):
        grid[layer, : len(row)] = [np.nan if value is None else value for value in row]
    return grid


def save(figure: "Figure", folder: Path, stem: str, forms: Collection[str] = ("png", "svg")) -> None:
    """Write `stem.png` and `stem.svg`; no date in them, so that the same figure gives the same bytes."""
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text("\n".join(map(visible, text.get_text().split("\n"))))
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # names may be in any script
        if "png" in forms:
            figure.savefig(folder / f"{stem}.png", dpi=150, metadata={"Software": None})
        if "svg" in forms:
            figure.savefig(folder / f"{stem}.svg", metadata={"Date": None, "Creator": None})
