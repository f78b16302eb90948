"""What `look` found, for a terminal and in figures: the answers, what closing each head changes, and maps of heads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.color import blend_rgb, parse_rgb_hex
from rich.console import Group, RenderableType

from prune_heads.attention.records import unpacked
from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.figures import Figure, drawing
from prune_heads.reporting.figures.maps import grid_of, heads_map, map_panels, scale_beside
from prune_heads.reporting.words import Record, heads_table, layer_names, scale_of, subject_of, whose
from prune_heads.tables import Cell, Form, Page, Table
from prune_heads.tables.terminal import line, spans
from prune_heads.visible import brief, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

MOST_SHOWN = 48  # queries and keys of a map that fit beside their names into 80 columns
_MOST_FLIPS = 3  # other answers that are named
_TITLE = 90  # characters of a text in the title of a figure
_NAME = 8  # characters of a token beside a map
_A_FIGURE = 6  # maps
_LOOKED = {
    False: ("probabilities", "attention"),
    True: ("weighted", "what moves: attention times the length of its value"),
}
"""Whether attention is weighted -> the key of maps in records, and what they show."""
_VIRIDIS = [parse_rgb_hex(colour) for colour in ("440154", "3b528b", "21918c", "5ec962", "fde725")]
_SHADES = " ░▒▓█"


@dataclass(frozen=True)
class HeadMap:
    """What one head looks at; drawn as two queries a line in half blocks, or, without colours, one in shades."""

    name: str  # `3:1`
    effect: float
    values: NDArray[np.float64]  # `(queries, keys)`, or `(rows, columns)` of patches, as many as are shown
    queries: list[str]  # empty of patches
    keys: list[str]  # all of them

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        has_colours = bool(console.color_system) and not console.no_color
        step, shares = 1 + has_colours, self.values / (float(self.values.max()) or 1.0)
        names = [f"{n:>2} {_beside(query)} " for n, query in enumerate(self.queries, 1)]
        names += [" " * (_NAME + 4) if names else ""] * (len(shares) + 1 - len(names))
        n_keys, before = shares.shape[1], cell_len(names[0]) * step
        wide = max(1, min(3 if self.queries else 2, (options.max_width - before) // n_keys))
        if self.queries:
            places = (f"{n:>{wide}}" if wide > 1 else str(n % 10) for n in range(1, n_keys + 1))
            yield line(" " * before + "".join(places), "dim")
        for i in range(0, len(shares), step):
            label, rows = "".join(names[i : i + step]), [list(map(_colour, row)) for row in shares[i : i + step]]
            if has_colours:
                yield spans(label, *(("▀" * wide, " on ".join(cell)) for cell in zip(*rows, strict=True)))
            else:
                yield line(label + "".join(_shade(share) * wide for share in shares[i]))
        marks = np.linspace(0, 1, 10)
        scale = [("█", _colour(share)) if has_colours else _shade(share) for share in marks]
        yield spans("0 ", *scale, f" {float(self.values.max()) or 1.0:.2g}")


def _beside(token: str) -> str:
    """A token in the room beside a map."""
    name = visible(token)
    return set_cell_size(name, _NAME) if cell_len(name) <= _NAME else f"{set_cell_size(name, _NAME - 1)}…"


def _colour(share: float) -> str:
    below = min(int(share * (len(_VIRIDIS) - 1)), len(_VIRIDIS) - 2)
    return blend_rgb(_VIRIDIS[below], _VIRIDIS[below + 1], share * (len(_VIRIDIS) - 1) - below).hex


def _shade(share: float) -> str:
    return _SHADES[min(round(float(share) * (len(_SHADES) - 1) + 0.25), len(_SHADES) - 1)]


def head_maps(record: Record) -> list[HeadMap]:
    """Those of the shown heads whose maps are known; of a picture what its first token looks at, patch by patch."""
    (text,), (kind, _) = record["texts"], _LOOKED[record["configuration"]["weighted"]]
    counts, of_block, found = HeadCounts.described(record["blocks"]), {each["block"]: each for each in text["maps"]}, []
    for name in text["shown"]:
        ((block, head),) = HeadMask.parse(name, counts)
        each = of_block.get(block, {"heads": ()})
        if head not in each["heads"] or not each[kind]:
            continue
        heads, queries, keys = each["heads"], each["queries"], each["keys"]
        values = unpacked(each[kind], len(heads), len(queries), len(keys))[heads.index(head)]
        values = values * (each["longest"] if kind == "weighted" else 1)
        if size := text["patches"]:
            values, queries = values[0, -size[0] * size[1] :].reshape(size), []
        values, queries = values[:MOST_SHOWN, :MOST_SHOWN], queries[:MOST_SHOWN]
        found.append(HeadMap(name, text["effects"][block][head], values, queries, keys))
    return found


def _unit(record: Record) -> str:
    """Of the effects."""
    return "nats" if record["texts"][0]["measure"] == "log-likelihood" else "points of the score"


def _scale(record: Record) -> tuple[float, int, str]:
    """What the effects are divided by, their digits, and the unit that they are then in."""
    scale, digits = scale_of(value for row in record["texts"][0]["effects"] for value in row if value is not None)
    return scale, digits, f"{scale:g} {_unit(record)}" if scale != 1 else _unit(record)


def _signed(value: float, digits: int) -> str:
    """No sign where it is rounded to zero."""
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def _brief(value: float) -> str:
    """Two digits of a number, however small it is."""
    return f"{value:+.2g}" if value else "0"


def _given(record: Record) -> str:
    (text,) = record["texts"]
    return text["text"] if text["pair"] is None else f"{text['text']} | {text['pair']}"


def look_page(record: Record) -> Page:
    """The text, the answers and which heads change them, and what closing each head changes."""
    (text,), counts = record["texts"], HeadCounts.described(record["blocks"])
    rows = (
        ({"place": f"{each['place']} {text['tokens'][each['place'] - 1]}"} if "place" in each else {})
        | {"answer": each["name"], "probability": each["probability"]}
        for each in text["answers"]
    )
    flips: dict[str, str] = {}
    for each in text["flips"]:
        flips[each["answer"]] = f"{flips.get(each['answer'], '')} {each['head']}"
    others = sorted(flips, key=lambda answer: -len(flips[answer].split()))[:_MOST_FLIPS]
    when = "when one of these heads is closed"
    notes = [f"The answer is {each} {when}: {HeadMask.parse(flips[each], counts)}." for each in others]
    answers = Table.of("", rows, {"probability": ".3f"}, notes)
    return Page(f"{subject_of(record)}: {_given(record)}", (answers, _effects(record)))


def _effects(record: Record) -> Table:
    """Layers down, heads across; losses of likelihood red, gains blue, the strongest bold."""
    (text,), (scale, digits, unit) = record["texts"], _scale(record)
    most = max(abs(value) for row in text["effects"] for value in row if value is not None)
    base = f"{text['base']:z.3f} {_unit(record)}"
    measured = f"{text['measure']} of {brief(text['answer'])}, in {unit}"

    def cell(value: float | None) -> Cell | None:
        looks = "" if not value else "red" if value < 0 else "blue"
        return None if value is None else Cell(value, style=f"{'bold ' * (abs(value) > most / 2)}{looks}")

    return heads_table(
        f"What closing each head changes: {measured}",
        record,
        [list(map(cell, row)) for row in text["effects"]],
        Form(lambda value: f"{_signed(value / scale, digits):>5}"),
        (f"With all heads: {base}. Columns are heads. Below zero: the head supports the answer.",),
        absent="-",
        gap=1,
    )


def look_report(record: Record) -> RenderableType:
    """All of it, the maps of the shown heads included."""
    parts, named = list[RenderableType]([look_page(record)]), list[str]()
    for each in head_maps(record):
        if each.queries and each.keys != named:
            named = each.keys
            keys = "  ".join(f"{n} {key}" for n, key in enumerate(named[:MOST_SHOWN], 1))
            parts += [line(""), line(f"keys: {keys}{' ...' if len(named) > MOST_SHOWN else ''}")]
        what = _LOOKED[record["configuration"]["weighted"]][1]
        title = f"head {each.name} ({_brief(each.effect)} {_unit(record)}): {what}"
        parts += [line(""), line(title, "bold"), each]
    return Group(*parts)


def look_figures(record: Record) -> Iterator[tuple[str, Figure]]:
    """The name of each figure's file, and the figure."""
    given, answer = _given(record), record["texts"][0]["answer"]
    title = f"{whose(record)}: {answer[:_TITLE]}\n{given if len(given) <= _TITLE else f'{given[: _TITLE - 3]}...'}"
    scale, digits, unit = _scale(record)
    grid = grid_of(record["texts"][0]["effects"]) / scale
    limit = float(np.nanmax(np.abs(grid))) or 1.0
    with map_panels([grid]) as (figure, (axes,)):  # losses are red, gains blue
        looks: dict[str, Any] = {"cmap": "RdBu", "vmin": -limit, "vmax": limit}
        image = heads_map(axes, grid, layer_names(record), lambda value: _signed(value, digits), **looks)
        axes.set_title(title, fontsize=9)
        scale_beside(figure, image, f"change when closed, {unit}")
    yield "effects", figure
    maps, what = head_maps(record), _LOOKED[record["configuration"]["weighted"]][1].removeprefix("what moves: ")
    for i in range(0, len(maps), _A_FIGURE):
        yield f"heads-{i // _A_FIGURE + 1}", _maps_figure(maps[i : i + _A_FIGURE], title, what, _unit(record))


def _maps_figure(maps: Sequence[HeadMap], title: str, what: str, unit: str) -> Figure:
    """Queries down, keys across; of a picture, its patches."""
    largest, n_columns = max(float(each.values.max()) for each in maps) or 1.0, min(3, len(maps))
    size = 1.6 + 0.2 * max(max(each.values.shape) for each in maps)
    sizes = size * n_columns + 0.8, size * -(-len(maps) // n_columns) + 0.8
    with drawing(*sizes, len(maps), n_columns) as (figure, panels):
        for axes, each in zip(panels, maps, strict=True):
            image = axes.imshow(each.values, cmap="viridis", vmin=0, vmax=largest, aspect="equal")
            axes.set_title(f"{each.name} ({_brief(each.effect)} {unit})", fontsize=9)
            keys = [key[:12] for key in each.keys[: each.values.shape[1]] if each.queries]
            axes.set_xticks(range(len(keys)), keys, rotation=90)
            axes.set_yticks(range(len(each.queries)), [query[:12] for query in each.queries])
            axes.tick_params(length=0, labelsize=7)
        figure.colorbar(image, cax=panels[n_columns - 1].inset_axes((1.04, 0, 0.05, 1)), label=what)
        figure.suptitle(title, fontsize=9)
    return figure
