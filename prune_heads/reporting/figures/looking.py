"""What closing each head changes on one text, and what the heads look at."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from prune_heads.reporting.figures import drawing
from prune_heads.reporting.figures.maps import grid_of, heads_map, map_panels, scale_beside
from prune_heads.reporting.looking import MOST_SHOWN, HeadMap, head_maps, unit
from prune_heads.reporting.words import Record, layer_names, whose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_A_PAGE = 6  # heads
_TITLE = 90  # characters of a text in a title


def look_figures(record: Record) -> Iterator[tuple[str, "Figure"]]:
    """The name of each figure's file, and the figure."""
    yield "effects", _effects(record)
    maps = head_maps(record)
    for i in range(0, len(maps), _A_PAGE):
        yield f"heads-{i // _A_PAGE + 1}", _maps(record, maps[i : i + _A_PAGE])


def _title(record: Record) -> str:
    (text,) = record["texts"]
    shown = f"{text['text']} | {text['pair']}" if text["pair"] else text["text"]
    shown = shown if len(shown) <= _TITLE else f"{shown[: _TITLE - 3]}..."
    return f"{whose(record)}: {text['answer'][:_TITLE]}\n{shown}"


def _effects(record: Record) -> "Figure":
    """Layers down, heads across; losses are red, gains blue."""
    (text,) = record["texts"]
    grid = grid_of(text["effects"])
    limit = float(np.nanmax(np.abs(grid))) or 1.0
    with map_panels([grid]) as (figure, (axes,)):
        scale = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
        image = heads_map(axes, grid, layer_names(record), "{:+.3f}".format, **scale)
        axes.set_title(_title(record), fontsize=9)
        scale_beside(figure, image, f"change when closed, {unit(record)}")
    return figure


def _maps(record: Record, maps: Sequence[HeadMap]) -> "Figure":
    """Queries down, keys across; of a picture, its patches."""
    n_tokens = max(min(MOST_SHOWN, max(each.values.shape)) for each in maps)
    largest, n_columns = max(float(each.values.max()) for each in maps) or 1.0, min(3, len(maps))
    size = 1.6 + 0.2 * n_tokens
    with drawing(size * n_columns + 0.8, size * -(-len(maps) // n_columns) + 0.8, len(maps), n_columns) as (
        figure,
        panels,
    ):
        for axes, each in zip(panels, maps, strict=True):
            values = each.values[:MOST_SHOWN, :MOST_SHOWN]
            image = axes.imshow(values, cmap="viridis", vmin=0, vmax=largest, aspect="equal")
            axes.set_title(f"{each.name} ({each.effect:+.2f})", fontsize=9)
            queries, keys = each.queries[: len(values)], each.keys[: values.shape[1]] if each.queries else []
            axes.set_xticks(range(len(keys)), [key[:12] for key in keys], rotation=90)
            axes.set_yticks(range(len(queries)), [query[:12] for query in queries])
            axes.tick_params(length=0, labelsize=7)
        what = "attention times length of value" if record["configuration"]["weighted"] else "attention"
        figure.colorbar(image, cax=panels[n_columns - 1].inset_axes((1.04, 0, 0.05, 1)), label=what)
        figure.suptitle(_title(record), fontsize=9)
    return figure
