"""A table once, in every form: for the terminal, Markdown, LaTeX and CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from prune_heads.reporting.latex import escaped, latex_float, signed
from prune_heads.reporting.layout import plain_table, titled
from prune_heads.reporting.long_form import written
from prune_heads.reporting.markdown import markdown_table

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


def with_digits(digits: int) -> Form:
    """A number without a sign."""
    return lambda value: f"{value:.{digits}f}"


@dataclass(frozen=True)
class Sheet:
    """A table: columns of values, how each is written, and what must be known beside them."""

    title: str
    columns: tuple[tuple[str, Form], ...]
    """Name and form of each column; a value of `as_interval` is a pair."""
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
    texts = sheet.texts()
    table = plain_table((), ())
    for name, cells in zip(sheet.heading, zip(*texts, strict=True), strict=True):
        table.add_column(
            name, justify="right", min_width=max(map(len, cells))
        )  # headings may wrap, numbers not
    for row in texts:
        table.add_row(*row)
    return Group(titled(sheet.title), table, *map(Text, sheet.notes))


def sheet_markdown(sheet: Sheet) -> str:
    """In Markdown."""
    parts = [f"# {sheet.title}", markdown_table(sheet.heading, sheet.texts()), *sheet.notes]
    return "\n\n".join(parts) + "\n"


def sheet_latex(sheet: Sheet) -> str:
    """In LaTeX, as a float with its notes in the caption."""
    caption = " ".join([f"{sheet.title}.", *sheet.notes])
    body = [[signed(escaped(text)) for text in row] for row in sheet.texts()]
    return latex_float(caption, [escaped(name) for name in sheet.heading], body)


def sheet_csv(sheet: Sheet) -> str:
    """As CSV, numbers in full; an interval takes two columns."""
    heading: list[str] = []
    for name, form in sheet.columns:
        heading += [f"{name}, low", f"{name}, high"] if form is as_interval else [name]
    return written(heading, [_flat(row, sheet.columns) for row in sheet.rows])


def _flat(row: Sequence[Any], columns: Sequence[tuple[str, Form]]) -> list[Any]:
    cells: list[Any] = []
    for value, (_, form) in zip(row, columns, strict=True):
        cells += ([None, None] if value is None else value) if form is as_interval else [value]
    return cells
