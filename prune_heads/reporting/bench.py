"""The speed of a model with and without heads, in the terminal and in Markdown."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.reporting.layout import Grid, line, titled
from prune_heads.reporting.markdown import document, markdown_table
from prune_heads.reporting.rows import share

_SPEEDS = ("lengths", "batch", "original", "masked", "removed")
_RATIOS = ("lengths", "batch", "masked", "removed", "ceiling")


def bench_table(record: Mapping[str, Any]) -> RenderableType:
    """Examples a second, then ratios; a row for each kind of lengths and batch size."""
    parts: list[RenderableType] = []
    for title, heading, rows in _tables(record):
        table = Grid(heading[:1], heading[1:])
        for row in rows:
            table.add_row(*row)
        parts += [titled(title), table, line("")]
    return Group(titled(bench_title(record)), line(""), *parts, *map(line, _notes(record)))


def bench_markdown(record: Mapping[str, Any]) -> str:
    """The same, and the ratio of each run."""
    runs = record["configuration"]["runs"]
    heading = ("lengths", "batch", *(f"run {run + 1}" for run in range(runs)))
    each = [
        (*_name(row), *(f"{ratio:.2f}" for ratio in row["ratio"]["removed"]["each"]))
        for row in record["rows"]
    ]
    parts = [f"# {bench_title(record)}"]
    for title, columns, rows in _tables(record):
        parts += [f"## {title}", markdown_table(columns, rows)]
    parts += [*_notes(record), "## removed / original in each run", markdown_table(heading, each)]
    parts += [f"Heads removed (layer:heads, from 1): {' '.join(record['heads_pruned'])}"]
    return document([*parts, *(f"Note: {note}" for note in record["notes"])])


def bench_title(record: Mapping[str, Any]) -> str:
    """Model, task, heads and machine."""
    where = record["provenance"]["device"]
    threads = record["provenance"]["threads"]
    on = f"{threads} thread{'s' if threads > 1 else ''}" if where == "cpu" else where
    return f"{record['model']['name']} on {record['task']}: {share(record)}; {record['configuration']['dtype']}, {on}"


def _tables(record: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, heading and rows of each."""
    speeds = [
        (
            *_name(row),
            *(
                f"{speed['mean']:,.1f} ± {speed['deviation']:.1f}"
                for speed in row["examples_per_second"].values()
            ),
        )
        for row in record["rows"]
    ]
    ratios = [
        (
            *_name(row),
            *(
                f"{ratio['median']:.2f}x ({min(ratio['each']):.2f} to {max(ratio['each']):.2f})"
                for ratio in row["ratio"].values()
            ),
            "-" if row["ceiling"] is None else f"{row['ceiling']:.2f}x",
        )
        for row in record["rows"]
    ]
    return [
        ("examples a second", _SPEEDS, speeds),
        ("speed over that of the original", _RATIOS, ratios),
    ]


def _notes(record: Mapping[str, Any]) -> list[str]:
    passes = [row["n_passes"] for row in record["rows"]]
    again = (
        f", repeated up to {max(passes)} times to take {record['shortest_seconds']:g} s"
        if max(passes) > 1
        else ""
    )
    return [
        f"Mean and standard deviation of {record['configuration']['runs']} runs; a run times one forward pass of each "
        f"side in turn{again}.",
        "Ratios: the median of those of each run (lowest to highest); ceiling: the ratio of the multiply-adds.",
    ]


def _name(row: Mapping[str, Any]) -> tuple[str, str]:
    """The kind of lengths with its tokens, padding included, and the batch size."""
    return f"{row['lengths']} {row['n_tokens']:.0f}", str(row["batch_size"])
