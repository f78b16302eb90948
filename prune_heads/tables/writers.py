"""Tables as texts: Markdown, LaTeX, CSV and HTML. What others wrote is harmless in each."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from prune_heads.visible import visible

if TYPE_CHECKING:
    from prune_heads.tables import Cell, Table

_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "*": "$^{*}$",
    "|": "$|$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def markdown_parts(table: "Table", level: int) -> Iterator[str]:
    """The title if there is one, the table, and its notes."""
    if table.title:
        yield f"{'#' * (level + table.depth)} {table.title}"
    yield markdown_table(table.heading, table.texts())
    yield from table.notes


def document(parts: Iterable[str]) -> str:
    """Titles, tables and paragraphs; in all but tables, what others wrote is made harmless here."""
    return "\n\n".join(part if part.startswith("| ") else _unmarked(part) for part in parts) + "\n"


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A heading and its rows, cells as they are written."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(_markdown_cell, cells))} |" for cells in lines)


def _markdown_cell(text: str) -> str:
    return _unmarked(text).replace("|", r"\|")


def _unmarked(text: str) -> str:
    return _HTML.sub(lambda begins: {"<": "&lt;", "&": "&amp;"}[begins[0]], visible(text))


def latex(table: "Table") -> str:
    """The table with its title and notes as the caption; what is bold in the terminal is bold."""
    caption = " ".join([f"{table.title}.", *table.notes])
    heading = [escaped(name) for name in table.heading]
    body = [
        [_latex_cell(cell, is_absent=value is None) for cell, value in zip(cells, values, strict=True)]
        for cells, values in zip(table.cells(), table.rows, strict=True)
    ]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(caption)}}}",
            r"\centering\small\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{r|{'r' * (len(heading) - 1)}}}",
            _latex_row(heading),
            r"\hline",
            *map(_latex_row, body),
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """The text with every character that LaTeX would read as a command made into one that it prints."""
    return "".join(_ESCAPES.get(character, character) for character in visible(text))


def _latex_row(cells: Sequence[str]) -> str:
    """A bracket that begins a row would be an argument of the one before."""
    return f"{'{}' if cells[0].startswith('[') else ''}{' & '.join(cells)} \\\\"


def _latex_cell(cell: "Cell", *, is_absent: bool) -> str:
    if is_absent:
        return escaped(cell.value)
    text = escaped(cell.value).replace("-", "$-$").replace("+", "$+$")  # a minus as long as the plus
    mark = cell.mark if cell.mark == "*" else escaped(cell.mark)
    return (rf"\textbf{{{text}}}" if cell.is_bold else text) + (f"$^{{{mark}}}$" if mark else "")


def csv_text(table: "Table", digits: int | None = None) -> str:
    """A row a row, without title and notes.

    Args:
        table: An interval takes two columns; so do numbers with marks.
        digits: Significant digits of numbers; None for all of them. The last bits of what is derived from records
            differ between processors, whose vectors are of other widths; a file that is compared must not.
    """
    heading = [column.name + part for column in table.columns for part in column.form.parts]
    rows = []
    for row in table.values():
        cells: list[Any] = []
        for found, column in zip(row, table.columns, strict=True):
            n = len(column.form.parts)
            cells += [found] if n == 1 else [None] * n if found is None else found
        rows.append([_rounded(cell, digits) for cell in cells])
    return written(heading, rows)


def written(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV; numbers as `repr` writes them, so that they can be read back exactly; None as nothing."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerows([_harmless(cell) for cell in row] for row in (heading, *rows))
    return target.getvalue()


def _rounded(cell: Any, digits: int | None) -> Any:
    return float(f"{cell:.{digits}g}") if digits is not None and isinstance(cell, float) else cell


def _harmless(cell: Any) -> Any:
    """A text in one line; one that a spreadsheet would compute, `=1+1`, is quoted as a text."""
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    if not text.startswith(("=", "+", "-", "@")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def html_table(table: "Table") -> str:
    """A `table` with its title as the caption, and a paragraph a note."""
    aligned = [f' style="text-align: {align}"' for align in table.alignments()]
    heading = _html_row("th", map(_html_text, table.heading), aligned)
    body = [_html_row("td", map(_html_cell, cells), aligned) for cells in table.cells()]
    n_body = len(body) - table.n_foot
    lines = [
        "<table>",
        *([f"<caption>{_html_text(table.title)}</caption>"] if table.title else []),
        f"<thead>{heading}</thead>",
        *["<tbody>", *body[:n_body], "</tbody>"],
        *(["<tfoot>", *body[n_body:], "</tfoot>"] if table.n_foot else []),
        "</table>",
        *(f"<p>{_html_text(note)}</p>" for note in table.notes),
    ]
    return "\n".join(lines) + "\n"


def _html_row(kind: str, texts: Iterable[str], aligned: Iterable[str]) -> str:
    cells = (f"<{kind}{style}>{text}</{kind}>" for text, style in zip(texts, aligned, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _html_cell(cell: "Cell") -> str:
    text = _html_text(cell.value + cell.mark)
    return f"<b>{text}</b>" if cell.is_bold else text


def _html_text(text: str) -> str:
    return escape(visible(text))
