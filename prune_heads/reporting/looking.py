"""What `look` found, for a terminal and in figures: the answers, what closing each head changes, and maps of heads."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.color import blend_rgb, parse_rgb_hex
from rich.console import Group, RenderableType

from prune_heads.attention.records import unpacked
from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.figures import drawing
from prune_heads.reporting.figures.maps import grid_of, heads_map, map_panels, scale_beside
from prune_heads.reporting.words import Record, heads_table, layer_names, scale_of, subject_of, whose
from prune_heads.tables import Cell, Form, Page, Table
from prune_heads.tables.terminal import line, spans
from prune_heads.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, ConsoleOptions, RenderResult

MOST_SHOWN = 48  # queries and keys of a map that fit beside their names into 80 columns
_MOST_FLIPS = 3  # other answers that are named
_SHORT = 30  # characters of an answer that a title repeats
_TITLE = 90  # characters of a text in the title of a figure
_NAME = 8  # characters of a token beside a map
_A_FIGURE = 6  # maps
_VIRIDIS = [parse_rgb_hex(colour) for colour in ("440154", "3b528b", "21918c", "5ec962", "fde725")]
_SHADES = " ░▒▓█"


@dataclass(frozen=True)
class HeadMap:
    """What one head looks at."""

    name: str  # `3:1`
    effect: float
    values: NDArray[np.float64]  # `(queries, keys)`, or `(rows, columns)` of patches
    queries: list[str]  # empty of patches
    keys: list[str]


def head_maps(record: Record) -> list[HeadMap]:
    """Those of the shown heads whose maps are known; of a picture what its first token looks at, patch by patch."""
    (text,) = record["texts"]
    counts, kind = HeadCounts.described(record["blocks"]), _kind(record)
    of_block, found = {each["block"]: each for each in text["maps"]}, []
    for name in text["shown"]:
        ((block, head),) = HeadMask.parse(name, counts)
        each = of_block.get(block, {"heads": ()})
        if head not in each["heads"] or not each[kind]:
            continue
        queries, keys = each["queries"], each["keys"]
        values = unpacked(each[kind], len(each["heads"]), len(queries), len(keys))[each["heads"].index(head)]
        values = values * (each["longest"] if kind == "weighted" else 1)
        if size := text["patches"]:
            values, queries = values[0, -size[0] * size[1] :].reshape(size), []
        found.append(HeadMap(name, text["effects"][block][head], values, queries, keys))
    return found


def _kind(record: Record) -> str:
    return "weighted" if record["configuration"]["weighted"] else "probabilities"


def _unit(record: Record) -> str:
    """Of the effects."""
    return "nats" if record["texts"][0]["measure"] == "log-likelihood" else "points of the score"


def _signed(value: float, digits: int) -> str:
    """No sign where it is rounded to zero."""
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def look_page(record: Record) -> Page:
    """The text, the answers and which heads change them, and what closing each head changes."""
    (text,) = record["texts"]
    second = f" | {text['pair']}" if text["pair"] is not None else ""
    rows = (
        ({"place": f"{each['place']} {text['tokens'][each['place'] - 1]}"} if "place" in each else {})
        | {"answer": each["name"], "probability": each["probability"]}
        for each in text["answers"]
    )
    answers = Table.of("", rows, {"probability": ".3f"}, _flips(record))
    return Page(f"{subject_of(record)}: {text['text']}{second}", (answers, _effects(record)))


def _flips(record: Record) -> Iterator[str]:
    """The heads that change the answer, a line an answer, the most frequent first."""
    counts, flips = HeadCounts.described(record["blocks"]), record["texts"][0]["flips"]
    heads = defaultdict[str, list[str]](list)
    for each in flips:
        heads[each["answer"]].append(each["head"])
    most = sorted(heads, key=lambda answer: -len(heads[answer]))
    for answer in most[:_MOST_FLIPS]:
        named = HeadMask.parse(" ".join(heads[answer]), counts)
        yield f"Closing one of these alone makes the answer {answer}: {named}."


def _effects(record: Record) -> Table:
    """Layers down, heads across; losses of likelihood red, gains blue, the strongest bold."""
    (text,) = record["texts"]
    there = [abs(value) for row in text["effects"] for value in row if value is not None]
    most, (scale, digits) = max(there), scale_of(there)
    what = _unit(record) if scale == 1 else f"{scale:g} {_unit(record)}"
    answer = f"{text['answer']!r}" if len(text["answer"]) <= _SHORT else "the answer"

    def cell(value: float | None) -> Cell | None:
        if not value:
            return None if value is None else Cell(value)
        return Cell(value, style=f"{'bold ' * (abs(value) >= most / 2)}{'red' if value < 0 else 'blue'}")

    base = f"With all heads: {text['base']:z.3f} {_unit(record)}"
    return heads_table(
        f"What closing each head changes: {text['measure']} of {answer}, in {what}",
        record,
        [list(map(cell, row)) for row in text["effects"]],
        Form(lambda value: f"{_signed(value / scale, digits):>5}"),
        (f"{base}. Columns are heads; a negative one speaks for the answer.",),
        absent="-",
        gap=1,
    )


def look_report(record: Record) -> RenderableType:
    """All of it, the maps of the shown heads included."""
    maps, parts = head_maps(record), list[RenderableType]([look_page(record)])
    what = "what moves: attention times the length of its value" if _kind(record) == "weighted" else "attention"
    for i, each in enumerate(maps):
        if each.queries and (i == 0 or each.keys != maps[i - 1].keys):
            named = "  ".join(f"{n} {key}" for n, key in enumerate(each.keys[:MOST_SHOWN], 1))
            parts += [line(""), line(f"keys: {named}{' ...' if len(each.keys) > MOST_SHOWN else ''}")]
        title = f"head {each.name} ({_signed(each.effect, 3)} {_unit(record)}): {what}"
        parts += [line(""), line(title, "bold"), Drawn(each)]
    return Group(*parts)


@dataclass(frozen=True)
class Drawn:
    """A map: two queries a line in half blocks, or a query a line in shades where there are no colours."""

    map: HeadMap

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        values, queries = self.map.values[:MOST_SHOWN, :MOST_SHOWN], self.map.queries[:MOST_SHOWN]
        has_colours = bool(console.color_system) and not console.no_color
        step, largest = 1 + has_colours, float(values.max()) or 1.0
        names = [f"{n:>2} {set_cell_size(visible(query), _NAME)} " for n, query in enumerate(queries, 1)]
        names += [" " * (_NAME + 4) if queries else ""] * (len(values) + 1 - len(queries))
        room = options.max_width - step * cell_len(names[0])
        wide = max(1, min(3 if queries else 2, room // values.shape[1]))
        if queries:
            places = (f"{n:>{wide}}" if wide > 1 else str(n % 10) for n in range(1, values.shape[1] + 1))
            yield line(" " * cell_len(names[0]) * step + "".join(places), "dim")
        for i in range(0, len(values), step):
            label = "".join(names[i : i + step])
            rows = [list(map(_colour, row / largest)) for row in values[i : i + step]]
            if has_colours:
                yield spans(label, *(("▀" * wide, " on ".join(cell)) for cell in zip(*rows, strict=True)))
            else:
                yield line(label + "".join(_shade(share) * wide for share in values[i] / largest))
        marks = np.linspace(0, 1, 10)
        scale = [("█", _colour(share)) if has_colours else _shade(share) for share in marks]
        yield spans("0 ", *scale, f" {largest:.2g}")


def _colour(share: float) -> str:
    below = min(int(share * (len(_VIRIDIS) - 1)), len(_VIRIDIS) - 2)
    return blend_rgb(_VIRIDIS[below], _VIRIDIS[below + 1], share * (len(_VIRIDIS) - 1) - below).hex


def _shade(share: float) -> str:
    return _SHADES[min(round(float(share) * (len(_SHADES) - 1) + 0.25), len(_SHADES) - 1)]


def look_figures(record: Record) -> Iterator[tuple[str, "Figure"]]:
    """The name of each figure's file, and the figure."""
    yield "effects", _effects_figure(record)
    maps = head_maps(record)
    for i in range(0, len(maps), _A_FIGURE):
        yield f"heads-{i // _A_FIGURE + 1}", _maps_figure(record, maps[i : i + _A_FIGURE])


def _title(record: Record) -> str:
    (text,) = record["texts"]
    shown = f"{text['text']} | {text['pair']}" if text["pair"] else text["text"]
    shown = shown if len(shown) <= _TITLE else f"{shown[: _TITLE - 3]}..."
    return f"{whose(record)}: {text['answer'][:_TITLE]}\n{shown}"


def _effects_figure(record: Record) -> "Figure":
    """Layers down, heads across; losses are red, gains blue."""
    (text,) = record["texts"]
    grid = grid_of(text["effects"])
    limit = float(np.nanmax(np.abs(grid))) or 1.0
    with map_panels([grid]) as (figure, (axes,)):
        scale = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
        image = heads_map(axes, grid, layer_names(record), "{:+.3f}".format, **scale)
        axes.set_title(_title(record), fontsize=9)
        scale_beside(figure, image, f"change when closed, {_unit(record)}")
    return figure


def _maps_figure(record: Record, maps: Sequence[HeadMap]) -> "Figure":
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
        what = "attention times length of value" if _kind(record) == "weighted" else "attention"
        figure.colorbar(image, cax=panels[n_columns - 1].inset_axes((1.04, 0, 0.05, 1)), label=what)
        figure.suptitle(_title(record), fontsize=9)
    return figure
