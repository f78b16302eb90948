"""A table once, in every form: for the terminal, Markdown, LaTeX and CSV."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.reporting.latex import escaped, latex_float, signed
from prune_heads.reporting.layout import Grid, line, titled
from prune_heads.reporting.long_form import written
from prune_heads.reporting.markdown import document, markdown_table

Form = Callable[[Any], str]
"""How a value is written; an absent one (None) is left empty by all."""


def as_text(value: Any) -> str:
    """As it is."""
    return str(value)


def in_points(value: float) -> str:
    """A difference that is in points already, with its sign: `+1.25`."""
    return f"{value:+.2f}"


def as_interval(value: tuple[float, float]) -> str:
    """`-1.25 to +0.50`."""
    return f"{value[0]:+.2f} to {value[1]:+.2f}"


def as_range(value: tuple[float, float]) -> str:
    """The least and the most of several, without signs: `40 to 60`."""
    return f"{value[0]:.4g} to {value[1]:.4g}"


def as_marked(value: tuple[float, str]) -> str:
    """A difference in points and its mark, or an empty one: `-0.53*`."""
    return in_points(value[0]) + value[1]


_PARTS: Mapping[Form, tuple[str, str]] = {
    as_interval: (", low", ", high"),
    as_range: (", low", ", high"),
    as_marked: ("", ", mark"),
}
"""Forms of pairs -> how the two columns of a CSV are called."""


def with_digits(digits: int) -> Form:
    """A number without a sign."""
    return lambda value: f"{value:.{digits}f}"


@dataclass(frozen=True)
class Sheet:
    """A table: columns of values, how each is written, and what must be known beside them."""

    title: str
    columns: tuple[tuple[str, Form], ...]
    """Name and form of each column; some forms are of pairs."""
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()
    """Sentences."""

    @property
    def heading(self) -> list[str]:
        """Names of the columns."""
        return [name for name, _ in self.columns]

    def texts(self) -> list[list[str]]:
        """The cells as people read them."""
        return [
            ["" if value is None else form(value) for value, (_, form) in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]


def sheet_report(sheet: Sheet) -> dict[str, Any]:
    """As JSON: an object a row, numbers in full."""
    rows = [dict(zip(sheet.heading, row, strict=True)) for row in sheet.rows]
    return {"title": sheet.title, "rows": rows, "notes": list(sheet.notes)}


def sheet_table(sheet: Sheet) -> RenderableType:
    """For the terminal."""
    table = Grid()
    for i, name in enumerate(sheet.heading):
        is_words = any(isinstance(row[i], str) for row in sheet.rows)
        table.add_column(name, "left" if is_words else "right")
    for row in sheet.texts():
        table.add_row(*row)
    return Group(titled(sheet.title), table, *map(line, sheet.notes))


def sheet_markdown(sheet: Sheet) -> str:
    """In Markdown."""
    parts = [f"# {sheet.title}", markdown_table(sheet.heading, sheet.texts()), *sheet.notes]
    return document(parts)


def sheet_latex(sheet: Sheet) -> str:
    """In LaTeX, as a float with its notes in the caption."""
    caption = " ".join([f"{sheet.title}.", *sheet.notes])
    body = [[signed(escaped(text)) for text in row] for row in sheet.texts()]
    return latex_float(caption, [escaped(name) for name in sheet.heading], body)


def sheet_csv(sheet: Sheet) -> str:
    """As CSV, numbers to 12 digits; a pair, e.g. an interval, takes two columns.

    What is derived here from records differs in its last bits between processors, whose vectors are of other widths;
    the files must not.
    """
    heading = [name + part for name, form in sheet.columns for part in _PARTS.get(form, ("",))]
    rows = ([_rounded(cell) for cell in _flat(row, sheet.columns)] for row in sheet.rows)
    return written(heading, rows)


def _rounded(cell: Any) -> Any:
    return float(f"{cell:.12g}") if isinstance(cell, float) else cell


def _flat(row: Sequence[Any], columns: Sequence[tuple[str, Form]]) -> list[Any]:
    cells: list[Any] = []
    for value, (_, form) in zip(row, columns, strict=True):
        cells += ([None, None] if value is None else value) if form in _PARTS else [value]
    return cells
