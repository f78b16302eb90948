"""Curves of several criteria in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from prune_heads.reporting.criteria import (
    CORRELATION_HEADING,
    correlation_rows,
    heading,
    notes,
    rows,
    splits,
    title,
)
from prune_heads.reporting.layout import plain_table, titled


def criteria_table(record: Mapping[str, Any]) -> RenderableType:
    """A table a split of `prune-heads curve`: shares of heads down, criteria across, the area in the last row.

    Below, how the scores of the criteria agree.
    """
    parts: list[RenderableType] = [titled(title(record)), Text()]
    for split in splits(record):
        table = plain_table((), heading(record, split))
        for column in table.columns[2:]:
            column.no_wrap = False  # names of criteria are long; their numbers are not
        *points, area = rows(record, split)
        for row in points:
            table.add_row(*row, end_section=row is points[-1])
        table.add_row(*area, style="bold")
        parts += [Text(split), table, Text()]
    parts.append(Text(notes(record), style="dim"))
    if agreement := correlation_rows(record):
        table = plain_table(CORRELATION_HEADING[:1], CORRELATION_HEADING[1:])
        for row in agreement:
            table.add_row(*row)
        parts += [Text(), Text("correlation of the scores before any head goes"), table]
    return Group(*parts)
