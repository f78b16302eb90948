"""A table is one value, `Table`: columns with their forms, rows of values, marks and notes.

`writers` makes texts of it, `terminal` draws it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prune_heads.tables.writers import csv_text, document, html_table, latex, markdown_parts

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Form:
    """How the values of a column are written."""

    write: Callable[[Any], str]
    parts: tuple[str, ...] = ("",)
    """Ends of the names of its columns in CSV; of a form with several, a value is a tuple, or a `Cell` with a mark."""

    @property
    def has_marks(self) -> bool:
        """Whether a mark may stand after any of its values."""
        return self.parts == _MARK


_MARK = ("", ", mark")
TEXT = Form(str)
POINTS = Form("{:+.2f}".format)
"""A difference in points, with its sign: `+1.25`."""
MARKED = Form("{:+.2f}".format, _MARK)
"""A `Cell` with a difference in points and its mark, which may be empty: `-0.53*`."""
INTERVAL = Form(lambda ends: f"{ends[0]:+.2f} to {ends[1]:+.2f}", (", low", ", high"))
"""Two numbers: `-1.25 to +0.50`."""
RANGE = Form(lambda ends: f"{ends[0]:.4g} to {ends[1]:.4g}", (", low", ", high"))
"""The lowest and the highest of several, without signs: `40 to 60`."""


def number(digits: int) -> Form:
    """A number without a sign."""
    return Form(f"{{:.{digits}f}}".format)


@dataclass(frozen=True)
class Cell:
    """A value with its mark and its looks."""

    value: Any
    mark: str = ""
    """Stands after the value in every form, e.g. `*` where a difference is significant."""
    style: str = ""
    """Of Rich, for the terminal; LaTeX and HTML take `bold` from it."""

    @property
    def is_bold(self) -> bool:
        """Whether LaTeX and HTML show it in bold."""
        return "bold" in self.style.split()


@dataclass(frozen=True)
class Column:
    """A name, and how the values below it are written."""

    name: str
    form: Form = TEXT
    align: Literal["left", "right"] | None = None
    """None: words to the left and numbers to the right."""
    style: str = ""
    """Of all its cells, in the terminal."""


def columns(left: Sequence[str] = (), right: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of texts, some to the left and then some to the right."""
    return (*(Column(name, align="left") for name in left), *(Column(name, align="right") for name in right))


@dataclass(frozen=True)
class Table:
    """Columns of values, how each is written, and what a reader must know beside them.

    `print` of Rich draws it, a notebook shows it as HTML; `to_markdown`, `to_latex`, `to_csv` and `to_html` give texts.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    """One value or `Cell` a column; None leaves a cell empty."""
    notes: tuple[str, ...] = ()
    """Sentences."""
    absent: str = ""
    """What stands for None; nothing in CSV."""
    n_keys: int = 1
    """Columns that say what a row is of; a narrow terminal repeats them beside each part of the others."""
    n_foot: int = 0
    """Rows at the end that sum the others up."""
    depth: int = 0
    """How much deeper than others its heading stands on a page."""
    gap: int = 2
    """Characters between two columns in the terminal."""
    colour_note: str = ""
    """What the colours mean; said only where there are some."""

    @property
    def heading(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    def cells(self) -> list[list[Cell]]:
        """A cell for each value: its text, mark and style."""
        return [
            [self._cell(value, column) for value, column in zip(row, self.columns, strict=True)] for row in self.rows
        ]

    def values(self) -> list[list[Any]]:
        """The rows without looks: a tuple, or None, in a column of several parts."""
        return [list(map(_plain, row, self.columns)) for row in self.rows]

    def alignments(self) -> list[Literal["left", "right"]]:
        """Of each column: as it says, or words to the left and numbers to the right."""
        return [
            column.align or ("left" if any(_is_words(row[i]) for row in self.rows) else "right")
            for i, column in enumerate(self.columns)
        ]

    def texts(self) -> list[list[str]]:
        """The cells as people read them."""
        return [[cell.value + cell.mark for cell in row] for row in self.cells()]

    def to_json(self) -> dict[str, Any]:
        """`{"title", "rows", "notes"}`: an object a row, numbers in full."""
        return {
            "title": self.title,
            "rows": [dict(zip(self.heading, row, strict=True)) for row in self.values()],
            "notes": list(self.notes),
        }

    def to_markdown(self, level: int = 1) -> str:
        """In Markdown; the title is a heading of this level."""
        return document(markdown_parts(self, level))

    def to_latex(self) -> str:
        """In LaTeX, as a float with its notes in the caption."""
        return latex(self)

    def to_csv(self, digits: int | None = None) -> str:
        """As CSV, numbers in full or to some significant digits; an interval or a mark has columns of its own."""
        return csv_text(self, digits)

    def to_html(self) -> str:
        """As an HTML table with its title and notes."""
        return html_table(self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __rich__(self) -> "RenderableType":
        from prune_heads.tables.terminal import drawn

        return drawn(self)

    def _cell(self, value: Any, column: Column) -> Cell:
        cell = value if isinstance(value, Cell) else Cell(value)
        text = self.absent if cell.value is None else column.form.write(cell.value)
        return Cell(text, cell.mark, cell.style or column.style)


@dataclass(frozen=True)
class Page:
    """Tables and paragraphs under one title."""

    title: str
    parts: tuple[Table | str, ...]

    def to_markdown(self) -> str:
        """In Markdown; the titles of the tables are headings of the second level."""
        parts = ([part] if isinstance(part, str) else list(markdown_parts(part, level=2)) for part in self.parts)
        return document([f"# {self.title}", *(text for texts in parts for text in texts)])

    def __rich__(self) -> "RenderableType":
        from prune_heads.tables.terminal import drawn_page

        return drawn_page(self)


def _plain(value: Any, column: Column) -> Any:
    if not isinstance(value, Cell):
        return value
    return (value.value, value.mark) if len(column.form.parts) > 1 else value.value


def _is_words(value: Any) -> bool:
    return isinstance(value.value if isinstance(value, Cell) else value, str)
