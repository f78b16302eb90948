"""What `prune-heads correlate` found: its rows, for the terminal and for Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.reporting.cells import interval
from prune_heads.reporting.layout import Grid, line, titled

TITLE = "Correlation of measurements of the same heads"
SERIES_HEADING = ("series", "what", "from", "heads")
PAIR_HEADING = ("first", "second", "heads", "Pearson r (95%)", "Spearman (95%)")


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
    return Group(titled(TITLE), series, line(""), pairs)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    table = Grid()
    for name in heading:
        table.add_column(name, "right" if name == "heads" or "(95%" in name else "left")
    for row in rows:
        table.add_row(*row)
    return table
