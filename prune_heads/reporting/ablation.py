"""Ablations in the terminal: layers down, heads across, as the paper's table 1."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.reporting.cells import (
    ABSENT,
    BEST_HEADING,
    Cell,
    best_note,
    best_rows,
    best_title,
    correlations,
    counts,
    flips,
    layers,
    legend,
    points,
    subtitle,
    title,
)
from prune_heads.reporting.layout import Grid, Line, line, titled

_WIDTH = 5
"""Characters of a number in a cell: sign, point, three digits."""


def ablation_report(record: Mapping[str, Any]) -> RenderableType:
    """All tables of `prune-heads ablate`, the correlations between its splits, and the flips."""
    parts: list[RenderableType] = [titled(title(record))]
    for table in record["tables"]:
        parts += [ablation_table(table), line("")]
        if table["best"]:
            parts += [best_table(table), line("")]
    notes = [*correlations(record), flips(record)]
    return Group(*parts, *(line(note) for note in notes if note))


def ablation_table(table: Mapping[str, Any]) -> RenderableType:
    """The differences on one split; sixteen heads fit into 110 columns, twelve into 80.

    So the mark stands in the gap between two numbers, and a table with a loss of ten points has one decimal less.
    """
    rows = list(layers(table))
    largest = max((abs(cell.delta) for _, row in rows for cell in row if cell), default=0.0)
    digits = 2 if 100 * largest < 9.995 else 1
    grid = Grid(gap=0)
    grid.add_column("layer", style="bold")
    for head in range(max((len(row) for _, row in rows), default=0)):
        grid.add_column(f"{head + 1:>{_WIDTH}} ")
    for layer, row in rows:
        grid.add_row(layer, *(_text(cell, digits) for cell in row))
    notes = (legend(table), counts(table))
    return Group(line(subtitle(table)), grid, *(line(note, style="dim") for note in notes))


def best_table(table: Mapping[str, Any]) -> RenderableType:
    """The best head of each layer, chosen on another split; beside it the one that this split would choose."""
    grid = Grid((), BEST_HEADING)
    for best in best_rows(table):
        texts: list[Any] = [*best.texts()]
        texts[BEST_HEADING.index("difference")] = _text(best.cell, 2)
        grid.add_row(*texts)
    return Group(titled(best_title(table)), grid, line(best_note(table), style="dim"))


def _text(cell: Cell | None, digits: int) -> Line:
    """The number and its mark; losses red, gains blue, as in the figures."""
    if cell is None:
        return line(f"{ABSENT:>{_WIDTH}}", style="dim")
    colour = "red" if cell.delta < 0 else "blue"
    style = f"bold white on {colour}" if cell.corrected else f"bold {colour}" if cell.significant else ""
    return line(f"{points(cell.delta, digits):>{_WIDTH}}{cell.mark}", style=style)
