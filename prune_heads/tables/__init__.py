"""A table is one value, `Table`, and there is one writer a file: terminal, Markdown, LaTeX, CSV and HTML."""

from prune_heads.tables.table import (
    INTERVAL,
    MARKED,
    POINTS,
    RANGE,
    TEXT,
    Cell,
    Column,
    Form,
    Page,
    Table,
    columns,
    number,
)

__all__ = [
    "INTERVAL",
    "MARKED",
    "POINTS",
    "RANGE",
    "TEXT",
    "Cell",
    "Column",
    "Form",
    "Page",
    "Table",
    "columns",
    "number",
]
