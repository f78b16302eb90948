"""Tables in Markdown: no character of a cell ends it or begins HTML."""

import re
from collections.abc import Iterable, Iterator, Sequence

from prune_heads.tables.table import Table
from prune_heads.visible import visible

_HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")


def markdown_parts(table: Table, level: int) -> Iterator[str]:
    """The title if there is one, the table, and its notes."""
    if table.title:
        yield f"{'#' * (level + table.depth)} {table.title}"
    yield markdown_table(table.heading, table.texts())
    yield from table.notes


def document(parts: Iterable[str]) -> str:
    """Titles, tables and paragraphs; in all but tables, what others wrote is made harmless here."""
    return "\n\n".join(part if part.startswith("| ") else _harmless(part) for part in parts) + "\n"


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A heading and its rows, cells as they are written."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, cells))} |" for cells in lines)


def _cell(text: str) -> str:
    return _harmless(text).replace("|", r"\|")


def _harmless(text: str) -> str:
    return _HTML.sub(lambda begins: {"<": "&lt;", "&": "&amp;"}[begins[0]], visible(text))
