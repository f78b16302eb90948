"""Figures from records, in one style. Each is a matplotlib figure; `save` writes it as PNG and SVG."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from prune_heads.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # matplotlib is imported where a figure is drawn
    Axes = Figure = Any

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "prune-heads",  # the same record gives the same bytes
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "figure.dpi": 100,
}
_WIDEST = 1400  # pixels, more than a page shows
_SIDES = ((5, 0, "left", "center"), (-5, 0, "right", "center"), (0, 5, "center", "bottom"), (0, -5, "center", "top"))
"""Where a name stands beside a point, in points, the first choice first."""
_TRIMMED: Mapping[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.06}


@contextmanager
def drawing(
    width: float, height: float, n: int = 1, n_columns: int = 1, **shared: Any
) -> Iterator[tuple["Figure", list["Axes"]]]:
    """A new figure, sizes in inches, and `n` pairs of axes in rows. matplotlib is imported here: few commands draw."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        every = list(figure.subplots(-(-n // n_columns), n_columns, squeeze=False, **shared).flat)
        for axes in every[n:]:
            axes.set_visible(False)
        yield figure, every[:n]


def name_panels(figure: "Figure", panels: Sequence["Axes"], title: str, names: Sequence[str], size: int = 11) -> None:
    """Name each panel, and the figure above them; of a single panel, one title above the other."""
    is_alone = len(panels) == 1
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(f"{title}\n{name}" if is_alone and title else name, fontsize=size - (not is_alone))
    if title and not is_alone:
        figure.suptitle(title, fontsize=11)


def name_points(figure: "Figure", axes: "Axes", points: NDArray[Any], names: Sequence[str], size: float) -> None:
    """Name the first of `(n, 2)` points, each on a side where the name covers no point and no name; some have none.

    Comes after all else that is drawn, for it must know how large the axes are.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    taken = [Bbox([place - 4, place + 4]) for place in axes.transData.transform(points)]
    for point, name in zip(points, names, strict=False):
        text = axes.annotate(name, point, xytext=(0, 0), textcoords="offset points", fontsize=size)
        for right, up, ha, va in _SIDES:
            text.set(position=(right, up), ha=ha, va=va)
            box, room = text.get_window_extent(), axes.bbox
            if room.x0 <= box.x0 and box.x1 <= room.x1 and not box.count_overlaps(taken):
                taken.append(box)
                break
        else:
            text.remove()


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
            _write_png(figure, folder / f"{stem}.png")
        if "svg" in forms:
            figure.savefig(folder / f"{stem}.svg", metadata={"Date": None, "Creator": None}, **_TRIMMED)


def _write_png(figure: "Figure", path: Path) -> None:
    """With a palette, which is a third of the bytes. The median cut keeps the colours of large areas as they are.

    So that it also keeps those of the scale of a map, they stand below the picture while the palette is chosen.
    """
    import numpy as np
    from matplotlib.image import imread
    from PIL import Image

    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=min(150, _WIDEST / figure.get_figwidth()), **_TRIMMED)
    drawn.seek(0)
    picture = Image.fromarray(np.rint(255 * imread(drawn)[..., :3]).astype(np.uint8))
    below = picture.resize((picture.width, picture.height // 6))
    for image in (image for axes in figure.axes for image in axes.images):
        values = image.get_array()
        if values is not None and values.ndim == 2:  # else it is a picture
            scale = image.to_rgba(np.linspace(*image.get_clim(), 256)[None], bytes=True)[..., :3]
            below = Image.fromarray(scale).resize(below.size)
    both = Image.new("RGB", (picture.width, picture.height + below.height))
    both.paste(picture)
    both.paste(below, (0, picture.height))
    both.quantize(256, Image.Quantize.MEDIANCUT).crop((0, 0, *picture.size)).save(path, optimize=True)
