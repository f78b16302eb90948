"""The one printer: all is shown as it is written, and no number of a table is cut, however narrow the terminal is."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import rich.table
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.style import Style
from rich.text import Text

from prune_heads.errors import PipeClosedError, PruneHeadsError
from prune_heads.tables import MARK, Page, Table
from prune_heads.visible import masked, visible

_GAP = 2
_KEY = 4  # characters of the first column that are left where one number needs nearly all of the width
_FOLDED = 12  # characters of a long word (a name, a path) that stay in one line, where there is no room for all
_NUMBER = re.compile(r"[^\W\d_]?[^a-zA-Z]*\d[^a-zA-Z]*[^\W\d_]?")
"""A word that is never folded: `+0.1234`, `(12%`, `3:1,5`, `E:3`, `1.2x`."""


def line(text: str, style: str | Style = "") -> Text:
    """A paragraph, or a cell."""
    return Text("\n".join(map(visible, text.split("\n"))), style=style)


def spans(*parts: str | tuple[str, str]) -> Text:
    """A paragraph, or a cell, of pieces; some with a style."""
    return Text.assemble(*(line(part) if isinstance(part, str) else line(*part) for part in parts))


def drawn(table: Table, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
    """The title, the table in bands below each other where it is too wide for one, its notes, what colours mean."""
    if table.title:
        yield line(table.title, "bold")  # not Rich's own, which wraps at the width of the table
    yield from _Grid(table).bands(options.max_width)
    yield from map(line, table.notes)
    if table.colour_note and console.color_system and not console.no_color:
        yield line(table.colour_note, "dim")


def drawn_page(page: Page) -> Iterator[RenderableType]:
    """The title if there is one, and the parts; an empty line after the title, and before and after each table."""
    before: Table | str | None = None
    if page.title:
        yield line(page.title, "bold")
        before = Table.of("", ())
    for part in page.parts:
        if before is not None and (isinstance(part, Table) or isinstance(before, Table)):
            yield line("")
        yield part if isinstance(part, Table) else line(part)
        before = part


class _Grid:
    """The columns of a table. Where it is too wide, headings and words wrap; then columns go below each other."""

    def __init__(self, table: Table) -> None:
        self.table, self.aligns = table, table.alignments()
        cells = table.cells()
        self.columns: list[list[Text]] = []  # the heading and the cells of each
        self.widths: list[tuple[int, ...]] = []  # of each: in full, with its heading wrapped, with words too, the least
        for i, (name, form) in enumerate(zip(table.heading, table.forms, strict=True)):
            width = max((cell_len(row[i].value) for row in cells), default=0)
            if form.parts != MARK or cell_len(name) > width:
                width = 0
            # Marks have a place of their own, so that numbers stand below each other; not below a long name.
            texts = ((f"{row[i].value:>{width}}{row[i].mark or ' ' * bool(width)}", row[i].style) for row in cells)
            self.columns.append([line(f"{name:>{width}} " if width else name), *(line(*text) for text in texts)])
            self.aligns[i] = "left" if width else self.aligns[i]
            every = [text.plain for text in self.columns[i]]
            full, least = max(1, *map(cell_len, every)), max(1, *map(_unbroken, every))
            wrapped = max(_unbroken(every[0]), *map(cell_len, every[1:]), 0)
            self.widths.append((full, wrapped, least if self.aligns[i] == "left" else wrapped, least))
        firsts = [text.plain for column in self.columns[:1] for text in column]
        self.narrow = max([1, *(_unbroken(text, _KEY) for text in firsts)])  # of the first column, which folds at need

    def bands(self, room: int) -> Iterator[RenderableType]:
        """Columns that stand beside each other; the keys are repeated in each band."""
        n_columns, n_keys = len(self.columns), max(1, min(self.table.n_keys, len(self.columns) - 1))
        least = [widths[-1] for widths in self.widths]
        while n_keys > 1 and self._total([*least[:n_keys], max(least[n_keys:])]) > room:
            n_keys -= 1
        bands: list[list[int]] = [[0]] if n_columns == 1 else []
        for column in range(n_keys, n_columns):
            if not bands or self._total([least[i] for i in (*bands[-1], column)]) > room:
                bands.append(list(range(n_keys)))
            bands[-1].append(column)
        for number, band in enumerate(bands):
            widths = self._fitted(band, room)
            widths[0] -= max(0, min(self._total(widths) - room, widths[0] - self.narrow))  # it folds, no number does
            if number:
                yield Text()
            yield self._drawn(band, widths)

    def _fitted(self, band: Sequence[int], room: int) -> list[int]:
        """Headings wrap first, then words, then cells of several numbers; the widest columns before others."""
        levels = list(zip(*(self.widths[i] for i in band), strict=True))
        widths, floors = levels[0], next((level for level in levels if self._total(level) <= room), levels[-1])
        for most in range(min(max(widths), room), 0, -1):
            fitted = [max(min(width, most), low) for width, low in zip(widths, floors, strict=True)]
            if self._total(fitted) <= room:
                return fitted
        return list(floors)

    def _total(self, widths: Sequence[int]) -> int:
        return sum(widths) + self.table.gap * (len(widths) - 1)

    def _drawn(self, band: Sequence[int], widths: Sequence[int]) -> rich.table.Table:
        gap, n_body = self.table.gap, len(self.table.rows) - self.table.n_foot
        drawn = rich.table.Table(
            box=SIMPLE_HEAD if gap == _GAP else None,
            pad_edge=False,
            show_edge=False,
            padding=(0, gap - (gap == _GAP), 0, 0),  # the box has a gap of its own
            show_header=any(self.table.heading),
            header_style="bold",
        )
        for i, width in zip(band, widths, strict=True):
            drawn.add_column(self.columns[i][0], justify=self.aligns[i], width=width, overflow="fold")
        for number, row in enumerate(zip(*(self.columns[i][1:] for i in band), strict=True), start=1):
            drawn.add_row(*row, style="bold" if number > n_body else "", end_section=number == n_body)
        return drawn


def _unbroken(text: str, folded: int = _FOLDED) -> int:
    """Width of the longest part of a cell that must stay in one line; a cell that is padded stays whole."""
    if text != text.strip():
        return cell_len(text)
    words = ((cell_len(word), _NUMBER.fullmatch(word)) for word in text.split())
    return max((width if number else min(width, folded) for width, number in words), default=0)


def console(*, stderr: bool = False) -> Console:
    """A console that obeys nothing in what it is given; a pipe has no width, unless `COLUMNS` says so."""
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = 100_000
    return made


@contextmanager
def speaking() -> Iterator[None]:
    """For what is written to stdout.

    A `PipeClosedError` if nobody reads it any more; a `PruneHeadsError` if it cannot be written, e.g. to a full disk.
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
