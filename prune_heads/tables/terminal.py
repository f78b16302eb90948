"""Tables in the terminal. What is given is shown as it is written, and no number is cut, however narrow it is."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import rich.table
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.style import Style
from rich.text import Text

from prune_heads.tables import Page, Table
from prune_heads.visible import visible

_GAP = 2
_KEY = 4
"""Characters of the first column that are left where one number needs nearly all of the width."""
_FOLDED = 12
"""Characters of a long word (a name, a path) that stay in one line, where there is no room for all."""
_NUMBER = re.compile(r"[^\W\d_]?[^a-zA-Z]*\d[^a-zA-Z]*[^\W\d_]?")
"""A word that is never folded: `+0.1234`, `(12%`, `3:1,5`, `E:3`, `1.2x`."""


def line(text: str, style: str | Style = "") -> Text:
    """A paragraph, or a cell."""
    return Text("\n".join(map(visible, text.split("\n"))), style=style)


def spans(*parts: str | tuple[str, str]) -> Text:
    """A paragraph, or a cell, of pieces; some with a style."""
    return Text.assemble(*(line(part) if isinstance(part, str) else line(*part) for part in parts))


def titled(title: str) -> Text:
    """A title of its own: Rich would wrap a table's title at the width of the table."""
    return line(title, "bold")


def drawn(table: Table) -> RenderableType:
    """The title, the table and its notes."""
    parts: list[RenderableType] = [titled(table.title)] if table.title else []
    parts += [_Grid(table), *map(line, table.notes)]
    return Group(*parts, *([_Coloured(table.colour_note)] if table.colour_note else []))


def drawn_page(page: Page) -> RenderableType:
    """The title and the parts; an empty line before and after each table."""
    parts: list[RenderableType] = [titled(page.title)]
    before: Table | str = Table("", (), ())
    for part in page.parts:
        if isinstance(part, Table) or isinstance(before, Table):
            parts.append(line(""))
        parts.append(drawn(part) if isinstance(part, Table) else line(part))
        before = part
    return Group(*parts)


class _Coloured:
    """A line that says what colours mean, where there are some."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if console.color_system and not console.no_color:
            yield line(self._text, "dim")


class _Grid:
    """A table. Where it is too wide, headings and words wrap; then its columns go below each other in bands."""

    def __init__(self, table: Table) -> None:
        cells = table.cells()
        self._table = table
        self._heading: list[Text] = []
        self._aligns: list[Literal["left", "right"]] = []
        places = []
        for i, (column, align) in enumerate(zip(table.columns, table.alignments(), strict=True)):
            width = max((cell_len(row[i].value) for row in cells), default=0)
            # Marks have a place of their own, so that numbers stand below each other; not below a long name.
            has_place = column.form.has_marks and cell_len(column.name) <= width
            places.append(width if has_place else 0)
            self._heading.append(line(f"{column.name:>{width}} " if has_place else column.name))
            self._aligns.append("left" if has_place else align)
        self._rows = [
            [
                line(f"{cell.value:>{width}}{cell.mark or ' ' * bool(width)}", cell.style)
                for cell, width in zip(row, places, strict=True)
            ]
            for row in cells
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for number, (columns, widths) in enumerate(self._bands(options.max_width)):
            if number:
                yield Text()
            yield self._drawn(columns, widths)

    def _bands(self, room: int) -> Iterator[tuple[list[int], list[int]]]:
        """Which columns stand beside each other, and how wide they are; the keys are repeated in each band."""
        columns = range(len(self._heading))
        widest = [max(1, *map(cell_len, self._texts(i))) for i in columns]
        least = [max(1, *map(_unbroken, self._texts(i))) for i in columns]
        narrow = [max(1, *(_unbroken(text, _KEY) for text in self._texts(i))) for i in columns]
        n_keys = max(1, min(self._table.n_keys, len(columns) - 1))
        while n_keys > 1 and self._total([*least[:n_keys], max(least[n_keys:])]) > room:
            n_keys -= 1
        keys, left = list(columns[:n_keys]), list(columns[n_keys:])
        while left or len(widest) == 1:
            band = [*keys, *left[:1]]
            for column in left[1:]:
                if self._total([least[i] for i in (*band, column)]) > room:
                    break
                band.append(column)
            left = left[len(band) - n_keys :]
            widths = self._fitted(band, [widest[i] for i in band], [least[i] for i in band], room)
            widths[0] -= max(0, min(self._total(widths) - room, widths[0] - narrow[0]))  # it folds, no number does
            yield band, widths
            if not left:
                return

    def _fitted(self, band: Sequence[int], widths: list[int], least: list[int], room: int) -> list[int]:
        """Headings wrap first, then words, then cells of several numbers; the widest columns before others."""
        cells = [max(_unbroken(self._heading[i].plain), *map(cell_len, self._texts(i)[1:] or [""])) for i in band]
        words = [low if self._aligns[i] == "left" else wide for i, low, wide in zip(band, least, cells, strict=True)]
        floors = next((floors for floors in (widths, cells, words) if self._total(floors) <= room), least)
        for most in range(min(max(widths), room), 0, -1):
            fitted = [max(min(width, most), low) for width, low in zip(widths, floors, strict=True)]
            if self._total(fitted) <= room:
                return fitted
        return list(floors)

    def _total(self, widths: Sequence[int]) -> int:
        return sum(widths) + self._table.gap * (len(widths) - 1)

    def _texts(self, column: int) -> list[str]:
        return [self._heading[column].plain, *(cells[column].plain for cells in self._rows)]

    def _drawn(self, columns: Sequence[int], widths: Sequence[int]) -> rich.table.Table:
        gap, n_body = self._table.gap, len(self._rows) - self._table.n_foot
        drawn = rich.table.Table(
            box=SIMPLE_HEAD if gap == _GAP else None,
            pad_edge=False,
            show_edge=False,
            padding=(0, gap - (gap == _GAP), 0, 0),  # the box has a gap of its own
            show_header=any(heading.plain for heading in self._heading),
            header_style="bold",
        )
        for i, width in zip(columns, widths, strict=True):
            drawn.add_column(self._heading[i], justify=self._aligns[i], width=width, overflow="fold")
        for number, cells in enumerate(self._rows, start=1):
            style = "bold" if number > n_body else ""
            drawn.add_row(*(cells[i] for i in columns), style=style, end_section=number == n_body)
        return drawn


def _unbroken(text: str, folded: int = _FOLDED) -> int:
    """Width of the longest part of a cell that must stay in one line; a cell that is padded stays whole."""
    if text != text.strip():
        return cell_len(text)
    words = ((cell_len(word), _NUMBER.fullmatch(word)) for word in text.split())
    return max((width if number else min(width, folded) for width, number in words), default=0)
