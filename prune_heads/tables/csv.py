"""Tables as CSV: a number is a number, whatever form it has for people."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from prune_heads.tables.table import Table, plain
from prune_heads.visible import visible


def csv_text(table: Table, digits: int | None = None) -> str:
    """A row a row, without title and notes.

    Args:
        table: An interval takes two columns; so do numbers with marks.
        digits: Significant digits of numbers; None for all of them. The last bits of what is derived from records
            differ between processors, whose vectors are of other widths; a file that is compared must not.
    """
    heading = [column.name + part for column in table.columns for part in column.form.parts]
    rows = []
    for row in table.rows:
        cells: list[Any] = []
        for value, column in zip(row, table.columns, strict=True):
            found, n = plain(value, column), len(column.form.parts)
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
