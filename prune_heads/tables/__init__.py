"""A table is one value, `Table`. It makes texts, in which what others wrote is harmless; `terminal` draws it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from prune_heads.visible import csv_of, in_html, in_latex, in_markdown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

MARK = ("", ", mark")


@dataclass(frozen=True)
class Form:
    """How the values of a column are written."""

    write: Callable[[Any], str]
    parts: tuple[str, ...] = ("",)
    """Ends of the names of its columns in CSV; of a form with several, a value is a tuple, or a `Cell` with a mark."""

    @staticmethod
    @cache
    def of(spec: "Form | str") -> "Form":
        """`.2f` is a number, `+.2f to` an interval, two of them; `+.2f*` a `Cell` with a mark, `{:g}%` has words."""
        if isinstance(spec, Form):
            return spec
        if spec.endswith(" to"):
            return Form(lambda ends: f"{ends[0]:{spec[:-3]}} to {ends[1]:{spec[:-3]}}", (", low", ", high"))
        template = spec if "{" in spec else f"{{:{spec.removesuffix('*')}}}"
        return Form(template.format, MARK if spec.endswith("*") else ("",))


@dataclass(frozen=True)
class Cell:
    """A value with its mark and its looks."""

    value: Any
    mark: str = ""  # stands after the value in every form, e.g. `*` where a difference is significant
    style: str = ""  # of Rich, for the terminal; LaTeX and HTML take `bold` from it


def _cell(value: Any) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


@dataclass(frozen=True)
class Table:
    """Columns of values, how each is written, and what a reader must know beside them.

    `print` of Rich draws it, a notebook shows it as HTML; `to_markdown`, `to_latex`, `to_csv` and `to_html` give texts.
    """

    title: str
    heading: tuple[str, ...]  # names of the columns
    forms: tuple[Form, ...]  # of the columns
    rows: tuple[tuple[Any, ...], ...]  # one value or `Cell` a column; None leaves a cell empty
    notes: tuple[str, ...] = ()  # sentences
    absent: str = ""  # what stands for None; nothing in CSV
    n_keys: int = 1  # columns that say what a row is of; a narrow terminal repeats them beside each part of the others
    n_foot: int = 0  # rows at the end that sum the others up
    gap: int = 2  # characters between two columns in the terminal
    colour_note: str = ""  # what the colours mean; said only where there are some

    @classmethod
    def of(
        cls,
        title: str,
        rows: Iterable[Mapping[str, Any]],
        forms: Mapping[str, Form | str] = {},
        notes: Iterable[str] = (),
        **looks: Any,
    ) -> "Table":
        """A table of objects, name of a column -> value or `Cell`; columns stand in the order in which they first come.

        Their forms (`Form.of`) are needed where they are not those of texts and counts; `looks` are other fields.
        """
        every = list(rows)
        names = dict.fromkeys(name for row in every for name in row) or forms
        made = tuple(Form.of(forms.get(name, "")) for name in names)
        return cls(title, tuple(names), made, tuple(tuple(map(row.get, names)) for row in every), tuple(notes), **looks)

    def cells(self) -> list[list[Cell]]:
        """A cell for each value: its text, mark and style."""

        def cell(value: Any, form: Form) -> Cell:
            found = _cell(value)
            return Cell(self.absent if found.value is None else form.write(found.value), found.mark, found.style)

        return [list(map(cell, row, self.forms)) for row in self.rows]

    def values(self) -> list[dict[str, Any]]:
        """The rows without looks, by the names of the columns: a tuple, or None, in a column of several parts."""

        def plain(value: Any, form: Form) -> Any:
            return (value.value, value.mark) if isinstance(value, Cell) and len(form.parts) > 1 else _cell(value).value

        return [dict(zip(self.heading, map(plain, row, self.forms), strict=True)) for row in self.rows]

    def alignments(self) -> list[Literal["left", "right"]]:
        """Of each column: words to the left, numbers to the right."""
        found = [[_cell(value).value for value in row] for row in self.rows]
        return ["left" if any(isinstance(row[i], str) for row in found) else "right" for i in range(len(self.heading))]

    def texts(self) -> list[list[str]]:
        """The cells as people read them."""
        return [[cell.value + cell.mark for cell in row] for row in self.cells()]

    def to_json(self) -> dict[str, Any]:
        """`{"title", "rows", "notes"}`: an object a row, numbers in full."""
        return {"title": self.title, "rows": self.values(), "notes": list(self.notes)}

    def to_markdown(self, level: int = 1) -> str:
        """In Markdown; the title is a heading of this level."""
        return "\n\n".join(self.markdown_parts(level)) + "\n"

    def markdown_parts(self, level: int) -> Iterator[str]:
        """The title if there is one, the table, and its notes."""
        if self.title:
            yield in_markdown(f"{'#' * level} {self.title}")
        lines = [list(self.heading), ["---"] * len(self.heading), *self.texts()]
        rows = (" | ".join(in_markdown(cell).replace("|", r"\|") for cell in cells) for cells in lines)
        yield "\n".join(f"| {row} |" for row in rows)
        yield from map(in_markdown, self.notes)

    def to_latex(self) -> str:
        """In LaTeX, as a float with its title and notes in the caption; what is bold in the terminal is bold."""

        def row(cells: list[str]) -> str:  # a bracket that begins a row would be an argument of the one before
            return f"{'{}' if cells[0].startswith('[') else ''}{' & '.join(cells)} \\\\"

        def text(cell: Cell) -> str:
            number = re.sub(r"[-+](?=\.?\d)", r"$\g<0>$", in_latex(cell.value))  # a minus as long as the plus
            mark = cell.mark if cell.mark == "*" else in_latex(cell.mark)
            return (rf"\textbf{{{number}}}" if "bold" in cell.style else number) + (f"$^{{{mark}}}$" if mark else "")

        lines = [
            r"\begin{table}",
            rf"\caption{{{in_latex(' '.join([f'{self.title}.', *self.notes]))}}}",
            r"\centering\small\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{r|{'r' * (len(self.heading) - 1)}}}",
            row(list(map(in_latex, self.heading))),
            r"\hline",
            *(row(list(map(text, cells))) for cells in self.cells()),
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def to_csv(self, digits: int | None = None) -> str:
        """As CSV, a row a row, without title and notes; an interval or a mark has columns of its own.

        Numbers have so many significant digits; None: all. The last bits of what is derived from records differ between
        processors, whose vectors are of other widths; a file that is compared must not.
        """

        def cells(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
            for form, (name, found) in zip(self.forms, row.items(), strict=True):
                values = (found,) if len(form.parts) == 1 else found or (None,) * len(form.parts)
                for part, value in zip(form.parts, values, strict=True):
                    is_rounded = digits is not None and isinstance(value, float)
                    yield name + part, float(f"{value:.{digits}g}") if is_rounded else value

        return csv_of(dict(cells(row)) for row in self.values())

    def to_html(self) -> str:
        """As an HTML table with its title and notes."""

        def row(kind: str, texts: Iterable[str]) -> str:
            styled = zip(self.alignments(), texts, strict=True)
            return "".join(["<tr>", *(f'<{kind} style="text-align: {a}">{t}</{kind}>' for a, t in styled), "</tr>"])

        def text(cell: Cell) -> str:
            shown = in_html(cell.value + cell.mark)
            return f"<b>{shown}</b>" if "bold" in cell.style else shown

        body = [row("td", map(text, cells)) for cells in self.cells()]
        n_body = len(body) - self.n_foot
        lines = [
            "<table>",
            *([f"<caption>{in_html(self.title)}</caption>"] if self.title else []),
            f"<thead>{row('th', map(in_html, self.heading))}</thead>",
            *["<tbody>", *body[:n_body], "</tbody>"],
            *(["<tfoot>", *body[n_body:], "</tfoot>"] if self.n_foot else []),
            "</table>",
            *(f"<p>{in_html(note)}</p>" for note in self.notes),
        ]
        return "\n".join(lines) + "\n"

    _repr_html_ = to_html

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from prune_heads.tables.terminal import drawn

        return drawn(self, console, options)


@dataclass(frozen=True)
class Page:
    """Tables and paragraphs under one title."""

    title: str
    parts: tuple[Table | str, ...]

    def to_markdown(self) -> str:
        """In Markdown; the titles of the tables are headings of the second level."""
        parts = ([in_markdown(part)] if isinstance(part, str) else part.markdown_parts(2) for part in self.parts)
        return "\n\n".join([in_markdown(f"# {self.title}"), *(text for texts in parts for text in texts)]) + "\n"

    def to_latex(self) -> str:
        """Its tables in LaTeX, each with the title of the page before its own; no paragraphs."""
        tables = (part for part in self.parts if isinstance(part, Table))
        return "\n".join(replace(each, title=f"{self.title}; {each.title}").to_latex() for each in tables)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from prune_heads.tables.terminal import drawn_page

        return drawn_page(self)
