"""Maps: a cell a head, coloured by a number and carrying it. What all maps share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.reporting.figures import Axes, Figure, drawing

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

Rows = Sequence[Sequence[float | None]]  # one row a block; None where there is no head or it was not measured

_NUMBERED = 16  # heads across, up to which cells are so large that they carry their numbers
_CELLS = {True: (0.5, 0.34), False: (0.22, 0.22)}  # width and height of a cell with its number, and without, in inches
_WIDEST = 10.0  # inches of a figure: a page shows it without making its letters small
_DARK = 0.5  # luminance of a cell below which its number is white


def grid_of(rows: Rows) -> NDArray[np.float64]:
    """Ragged rows as a matrix; NaN where there is no head or it was not measured."""
    return np.array([*zip_longest(*rows)], dtype=np.float64).T


@contextmanager
def map_panels(grids: Sequence[NDArray[np.float64]]) -> Iterator[tuple[Figure, list[Axes]]]:
    """A panel a map, side by side where the page is wide enough."""
    (n_rows, n_heads), n = grids[0].shape, len(grids)
    width, height = (size * n for size, n in zip(_CELLS[n_heads <= _NUMBERED], (n_heads, n_rows), strict=True))
    n_columns = max(1, min(n, int(_WIDEST / (width + 1.5))))
    with drawing((width + 1.5) * n_columns, 0.7 + (height + 0.7) * -(-n // n_columns), n, n_columns) as drawn:
        yield drawn


def heads_map(
    axes: Axes, grid: NDArray[np.float64], layers: Sequence[str], form: Callable[[float], str], **colours: Any
) -> "AxesImage":
    """One row a layer, one column a head, numbered from 1; numbers where there are few enough to read them."""
    axes.set(xlabel="head", ylabel="layer")
    axes.tick_params(labelsize=8)
    n = grid.shape[1]
    heads = [head for head in range(1, n + 1) if n <= _NUMBERED or head == 1 or head % 5 == 0]
    axes.set_xticks([head - 1 for head in heads], list(map(str, heads)))
    return cells(axes, grid, layers, form if n <= _NUMBERED else None, **colours)


def cells(
    axes: Axes, grid: NDArray[np.float64], rows: Sequence[str], form: Callable[[float], str] | None, **colours: Any
) -> "AxesImage":
    """A cell a number, written in it by `form`, in colours as `imshow` takes them; grey where there is none."""
    axes.set_facecolor("0.85")
    image = axes.imshow(grid, aspect="auto", **colours)
    axes.set_yticks(range(len(grid)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    gaps: dict[str, Any] = {"color": "white", "linewidth": 1.5 if form else 0.4}
    axes.hlines(np.arange(len(grid) - 1) + 0.5, -0.5, grid.shape[1] - 0.5, **gaps)
    axes.vlines(np.arange(grid.shape[1] - 1) + 0.5, -0.5, len(grid) - 0.5, **gaps)
    if form is None:
        return image
    luminance = image.to_rgba(grid)[..., :3] @ (0.299, 0.587, 0.114)
    for i, j in np.argwhere(~np.isnan(grid)):
        letters = "white" if luminance[i, j] < _DARK else "black"
        axes.text(j, i, form(grid[i, j]), ha="center", va="center", fontsize=7.5, color=letters, zorder=3)
    return image


def scale_beside(figure: Figure, image: "AxesImage", label: str, **looks: Any) -> None:
    """The scale of a map, beside it and as high."""
    bar = figure.colorbar(image, ax=image.axes, fraction=0.05, pad=0.02, **looks)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
