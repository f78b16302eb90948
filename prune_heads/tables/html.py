"""Tables as HTML, for notebooks: plain elements, and every text escaped."""

from collections.abc import Iterable
from html import escape

from prune_heads.tables.table import Cell, Table
from prune_heads.tables.terminal import alignments
from prune_heads.visible import visible


def html_table(table: Table) -> str:
    """A `table` with its title as the caption, and a paragraph a note."""
    aligned = [f' style="text-align: {align}"' for align in alignments(table)]
    heading = _row("th", map(_text, table.heading), aligned)
    body = [_row("td", map(_cell, cells), aligned) for cells in table.cells()]
    n_body = len(body) - table.n_foot
    lines = [
        "<table>",
        *([f"<caption>{_text(table.title)}</caption>"] if table.title else []),
        f"<thead>{heading}</thead>",
        *["<tbody>", *body[:n_body], "</tbody>"],
        *(["<tfoot>", *body[n_body:], "</tfoot>"] if table.n_foot else []),
        "</table>",
        *(f"<p>{_text(note)}</p>" for note in table.notes),
    ]
    return "\n".join(lines) + "\n"


def _row(kind: str, texts: Iterable[str], aligned: Iterable[str]) -> str:
    cells = (f"<{kind}{style}>{text}</{kind}>" for text, style in zip(texts, aligned, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(cell: Cell) -> str:
    text = _text(cell.value + cell.mark)
    return f"<b>{text}</b>" if cell.is_bold else text


def _text(text: str) -> str:
    return escape(visible(text))
