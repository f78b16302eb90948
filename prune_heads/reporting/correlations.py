"""What `prune-heads correlate` found: its rows, for the terminal and for Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from prune_heads.reporting.cells import interval
from prune_heads.reporting.layout import titled

TITLE = "Correlation of measurements of the same heads"
SERIES_HEADING = ("series", "what", "from", "heads")
PAIR_HEADING = ("first", "second", "heads", "Pearson r (95%)", "Spearman (95%)")
_SHORT = len("-0.12 (-0.34 to -0.05)")
"""Columns of shorter texts are not wrapped, and the others are, before any is cut."""


def series_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a series, numbered from 1."""
    return [
        (str(number), series["name"], series["source"], str(series["n_heads"]))
        for number, series in enumerate(report["series"], start=1)
    ]


def pair_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a pair; series by their numbers, with what their numbers stand for in this pair."""
    numbers = {series["name"]: number for number, series in enumerate(report["series"], start=1)}
    return [
        (
            f"{numbers[pair['first']]}: {pair['first_measure']}",
            f"{numbers[pair['second']]}: {pair['second_measure']}",
            str(pair["n_heads"]),
            interval(pair, "pearson", words=""),
            interval(pair, "spearman", words=""),
        )
        for pair in report["correlations"]
    ]


def correlation_report(report: Mapping[str, Any]) -> RenderableType:
    """Series and pairs; long words wrap instead of being cut."""
    series = _table(SERIES_HEADING, series_rows(report))
    pairs = _table(PAIR_HEADING, pair_rows(report))
    return Group(titled(TITLE), series, Text(), pairs)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name, *column in zip(heading, *rows, strict=True):
        short = all(len(cell) <= _SHORT for cell in column)
        table.add_column(name, justify="right" if name == "heads" else "left", overflow="fold", no_wrap=short)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
