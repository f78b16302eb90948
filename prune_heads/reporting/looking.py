"""What `look` found, for a terminal: the answers, what closing each head changes, and maps in half blocks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType

from prune_heads.attention.records import unpacked
from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.words import Record, heads_table, subject_of
from prune_heads.tables import Cell, Form, Page, Table
from prune_heads.tables.terminal import line, spans
from prune_heads.visible import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

MOST_SHOWN = 48  # queries and keys of a map that fit beside their names into 80 columns
_SHORT = 30  # characters of an answer that a title repeats
_NAME = 8  # characters of a token beside a map
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
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
    counts = HeadCounts.described(record["blocks"])
    weighted = record["configuration"]["weighted"]
    found = []
    for name in text["shown"]:
        ((block, head),) = HeadMask.parse(name, counts)
        for each in text["maps"]:
            packed = each["weighted" if weighted else "probabilities"]
            if each["block"] == block and head in each["heads"] and packed:
                shape = len(each["heads"]), len(each["queries"]), len(each["keys"])
                values = unpacked(packed, *shape)[each["heads"].index(head)] * (each["longest"] if weighted else 1)
                queries, keys = each["queries"], each["keys"]
                if size := text["patches"]:
                    values, queries = values[0, -size[0] * size[1] :].reshape(size), []
                found.append(HeadMap(name, text["effects"][block][head], values, queries, keys))
    return found


def unit(record: Record) -> str:
    """Of the effects."""
    return "nats" if record["texts"][0]["measure"] == "log-likelihood" else "points of the score"


def look_page(record: Record) -> Page:
    """The text, the answers, and what closing each head changes."""
    (text,) = record["texts"]
    second = f" | {text['pair']}" if text["pair"] is not None else ""
    rows = (
        ({"place": f"{each['place']} {text['tokens'][each['place'] - 1]}"} if "place" in each else {})
        | {"answer": each["name"], "probability": each["probability"]}
        for each in text["answers"]
    )
    flips = [f"Closing {each['head']} alone makes the answer {each['answer']}." for each in text["flips"]]
    answers = Table.of("", rows, {"probability": ".3f"}, flips[:8] + [f"And {len(flips) - 8} more."] * (len(flips) > 8))
    return Page(f"{subject_of(record)}: {text['text']}{second}", (answers, _effects(record)))


def _effects(record: Record) -> Table:
    """Layers down, heads across; losses of likelihood red, gains blue, the strongest bold."""
    (text,) = record["texts"]
    most = max(abs(value) for row in text["effects"] for value in row if value is not None)
    scale = 10.0 ** min(0, int(f"{most:e}".partition("e")[2]) + 1) if most else 1
    what = unit(record) if scale == 1 else f"{scale:g} {unit(record)}"
    answer = f"{text['answer']!r}" if len(text["answer"]) <= _SHORT else "the answer"

    def cell(value: float | None) -> Cell | None:
        if not value:
            return None if value is None else Cell(value)
        return Cell(value, style=f"{'bold ' * (abs(value) >= most / 2)}{'red' if value < 0 else 'blue'}")

    return heads_table(
        f"What closing each head changes: {text['measure']} of {answer}, in {what}",
        record,
        [list(map(cell, row)) for row in text["effects"]],
        Form(lambda value: f"{_signed(value / scale, 2 if most < 9.995 else 1):>5}"),
        (f"With all heads: {text['base']:.3f}. Columns are heads; a negative one speaks for the answer.",),
        absent="-",
        gap=1,
    )


def _signed(value: float, digits: int) -> str:
    """No sign where it is rounded to zero."""
    shown = f"{value:+.{digits}f}"
    return shown if float(shown) else shown[1:]


def look_report(record: Record) -> RenderableType:
    """All of it, the maps of the shown heads included."""
    maps = head_maps(record)
    page = look_page(record)
    parts: list[RenderableType] = [line(page.title, "bold"), line(""), page.parts[0], line(""), page.parts[1]]
    what = "what moves: attention times the length of its value" if record["configuration"]["weighted"] else "attention"
    for i, each in enumerate(maps):
        if each.queries and (i == 0 or each.keys != maps[i - 1].keys):
            named = "  ".join(f"{n} {key}" for n, key in enumerate(each.keys[:MOST_SHOWN], 1))
            parts += [line(""), line(f"keys: {named}{' ...' if len(each.keys) > MOST_SHOWN else ''}")]
        parts += [line(""), line(f"head {each.name} ({each.effect:+.3f} {unit(record)}): {what}", "bold"), Drawn(each)]
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
    place = share * (len(_VIRIDIS) - 1)
    below = min(int(place), len(_VIRIDIS) - 2)
    parts = (round(a + (b - a) * (place - below)) for a, b in zip(_VIRIDIS[below], _VIRIDIS[below + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)


def _shade(share: float) -> str:
    return _SHADES[min(round(float(share) * (len(_SHADES) - 1) + 0.25), len(_SHADES) - 1)]
