"""The one printer: consoles, lines and tables. What it is given is shown as it is written, and no number is cut."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from prune_heads.descriptors import HeadCounts
from prune_heads.errors import PipeClosedError, PruneHeadsError
from prune_heads.visible import masked, visible

Line = Text
"""A paragraph or a cell that is safe to show; `line` and `spans` make it."""

_GAP = 2
_KEY = 4
"""Characters of the first column that are left where one number needs nearly all of the width."""
_FOLDED = 12
"""Characters of a long word (a name, a path) that stay in one line, where there is no room for all."""
_NUMBER = re.compile(r"[^\W\d_]?[^a-zA-Z]*\d[^a-zA-Z]*[^\W\d_]?")
"""A word that is never folded: `+0.1234`, `(12%`, `3:1,5`, `E:3`, `1.2x`."""
_PIPED = 100_000


def console(*, stderr: bool = False) -> Console:
    """A console that obeys nothing in what it is given; a pipe has no width, unless `COLUMNS` says so."""
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = _PIPED
    return made


@contextmanager
def speaking() -> Iterator[None]:
    """For what is written to stdout.

    Raises:
        PipeClosedError: If nobody reads it any more.
        PruneHeadsError: If it cannot be written, e.g. to a full disk.
    """
    try:
        yield
    except BrokenPipeError as error:
        raise PipeClosedError from error
    except OSError as error:
        raise PruneHeadsError(f"stdout must be writable; got: {error.strerror}") from error


def print_json(value: Mapping[str, Any]) -> None:
    """One line on stdout, at once: in ASCII, which every terminal and pipe can take."""
    with speaking():
        print(masked(json.dumps(value, allow_nan=False)), flush=True)


def indented(text: str) -> RenderableType:
    """A paragraph that is moved to the right."""
    return Padding.indent(line(text), 4)


def line(text: str, style: str | Style = "") -> Line:
    """A paragraph, or a cell."""
    return Text("\n".join(map(visible, text.split("\n"))), style=style)


def spans(*parts: str | tuple[str, str]) -> Line:
    """A paragraph, or a cell, of pieces; some with a style."""
    return Text.assemble(*(line(part) if isinstance(part, str) else line(*part) for part in parts))


def titled(title: str) -> Line:
    """A title of its own: Rich would wrap a table's title at the width of the table."""
    return line(title, "bold")


class Grid:
    """A table. Where it is too wide, headings and words wrap; then its columns go below each other in bands."""

    def __init__(self, left: Sequence[str] = (), right: Sequence[str] = (), *, gap: int = _GAP) -> None:
        """Columns of words, then columns of numbers; a line under the heading unless the gap is another."""
        self._gap = gap
        self._heading: list[Text] = []
        self._styles: list[tuple[Literal["left", "right"], str]] = []
        self._rows: list[tuple[list[Text], str, bool]] = []
        for name in left:
            self.add_column(name)
        for name in right:
            self.add_column(name, "right")

    def add_column(self, name: str, justify: Literal["left", "right"] = "left", style: str = "") -> None:
        """One more column."""
        self._heading.append(line(name))
        self._styles.append((justify, style))

    def add_row(self, *cells: str | Text, style: str = "", end_section: bool = False) -> None:
        """One more row; cells that are not given are empty."""
        made = [cell if isinstance(cell, Text) else line(cell) for cell in cells]
        missing = [Text() for _ in range(len(self._heading) - len(made))]
        self._rows.append(([*made, *missing], style, end_section))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for number, (columns, widths) in enumerate(self._bands(options.max_width)):
            if number:
                yield Text()
            yield self._drawn(columns, widths)

    def _bands(self, room: int) -> Iterator[tuple[list[int], list[int]]]:
        """Which columns stand beside each other, and how wide they are; the first is repeated in each band."""
        columns = range(len(self._heading))
        widest = [max(1, *map(cell_len, self._texts(i))) for i in columns]
        least = [max(1, *map(_unbroken, self._texts(i))) for i in columns]
        left = list(columns[1:])
        while left or len(widest) == 1:
            band = [0, *left[:1]]
            while (n := len(band)) <= len(left) and self._total([least[i] for i in (0, *left[:n])]) <= room:
                band.append(left[n - 1])
            left = left[len(band) - 1 :]
            widths = self._fitted(band, [widest[i] for i in band], [least[i] for i in band], room)
            key = max(1, *(_unbroken(text, _KEY) for text in self._texts(0)))  # it folds, but no number in it
            widths[0] -= max(0, min(self._total(widths) - room, widths[0] - key))
            yield band, widths
            if not left:
                return

    def _fitted(self, band: Sequence[int], widths: list[int], least: list[int], room: int) -> list[int]:
        """Headings wrap first, then words, then cells of several numbers; the widest columns before others."""
        cells = [
            max(_unbroken(self._heading[i].plain), *map(cell_len, self._texts(i)[1:] or [""])) for i in band
        ]
        words = [
            low if self._styles[i][0] == "left" else wide
            for i, low, wide in zip(band, least, cells, strict=True)
        ]
        floors = next((floors for floors in (widths, cells, words) if self._total(floors) <= room), least)
        for most in range(min(max(widths), room), 0, -1):
            fitted = [max(min(width, most), low) for width, low in zip(widths, floors, strict=True)]
            if self._total(fitted) <= room:
                return fitted
        return list(floors)

    def _total(self, widths: Sequence[int]) -> int:
        return sum(widths) + self._gap * (len(widths) - 1)

    def _texts(self, column: int) -> list[str]:
        return [self._heading[column].plain, *(cells[column].plain for cells, _, _ in self._rows)]

    def _drawn(self, columns: Sequence[int], widths: Sequence[int]) -> Table:
        drawn = Table(
            box=SIMPLE_HEAD if self._gap == _GAP else None,
            pad_edge=False,
            show_edge=False,
            padding=(0, self._gap - (self._gap == _GAP), 0, 0),  # the box has a gap of its own
            show_header=any(heading.plain for heading in self._heading),
            header_style="bold",
        )
        for i, width in zip(columns, widths, strict=True):
            justify, style = self._styles[i]
            drawn.add_column(self._heading[i], justify=justify, style=style, width=width, overflow="fold")
        for cells, style, end_section in self._rows:
            drawn.add_row(*(cells[i] for i in columns), style=style, end_section=end_section)
        return drawn


def layer_names(report: Mapping[str, Any]) -> list[str]:
    """What people call each block of a report's `blocks`: `3`, or `E:3` in an encoder-decoder."""
    return HeadCounts.described(report["blocks"]).names()


def metric_name(record: Mapping[str, Any]) -> str:
    """The headline metric as people write it."""
    headline = str(record["headline"])
    return "BLEU" if headline == "bleu" else headline.replace("_", " ")


def _unbroken(text: str, folded: int = _FOLDED) -> int:
    """Width of the longest part of a cell that must stay in one line; a cell that is padded stays whole."""
    if text != text.strip():
        return cell_len(text)
    words = ((cell_len(word), _NUMBER.fullmatch(word)) for word in text.split())
    return max((width if number else min(width, folded) for width, number in words), default=0)
