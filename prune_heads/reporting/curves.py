"""Curves of several criteria in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.reporting.criteria import (
    CORRELATION_HEADING,
    correlation_rows,
    heading,
    notes,
    rows,
    splits,
    title,
)
from prune_heads.reporting.layout import Grid, line, titled


def criteria_table(record: Mapping[str, Any]) -> RenderableType:
    """A table a split of `prune-heads curve`: shares of heads down, criteria across, the area in the last row.

    Below, how the scores of the criteria agree.
    """
    parts: list[RenderableType] = [titled(title(record)), line("")]
    for split in splits(record):
        table = Grid((), heading(record, split))
        *points, area = rows(record, split)
        for row in points:
            table.add_row(*row, end_section=row is points[-1])
        table.add_row(*area, style="bold")
        parts += [line(split), table, line("")]
    parts.append(line(notes(record), style="dim"))
    if agreement := correlation_rows(record):
        table = Grid(CORRELATION_HEADING[:1], CORRELATION_HEADING[1:])
        for row in agreement:
            table.add_row(*row)
        parts += [line(""), line("correlation of the scores before any head goes"), table]
    return Group(*parts)
