"""The speed of a model with and without heads, in the terminal and in Markdown."""

from collections.abc import Mapping
from typing import Any

from prune_heads.reporting.words import share
from prune_heads.tables import Column, Page, Table, columns


def bench_page(record: Mapping[str, Any], *, whole: bool = False) -> Page:
    """Examples a second, then ratios; a row for each kind of lengths and batch size.

    Args:
        record: Of `prune-heads bench`.
        whole: With the ratio of each run, the heads and the notes: for a file.
    """
    parts: list[Table | str] = [*_tables(record), *_notes(record)]
    if whole:
        runs = [f"run {run + 1}" for run in range(record["configuration"]["runs"])]
        each = [
            (*_name(row), *(f"{ratio:.2f}" for ratio in row["ratio"]["removed"]["each"]))
            for row in record["rows"]
        ]
        parts.append(Table("removed / original in each run", _columns(*runs), tuple(each)))
        parts.append(f"Heads removed (layer:heads, from 1): {' '.join(record['heads_pruned'])}")
        parts += [f"Note: {note}" for note in record["notes"]]
    return Page(_title(record), tuple(parts))


def _title(record: Mapping[str, Any]) -> str:
    """Model, task, heads and machine."""
    where = record["provenance"]["device"]
    threads = record["provenance"]["threads"]
    on = f"{threads} thread{'s' if threads > 1 else ''}" if where == "cpu" else where
    return f"{record['model']['name']} on {record['task']}: {share(record)}; {record['configuration']['dtype']}, {on}"


def _tables(record: Mapping[str, Any]) -> list[Table]:
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
        Table("examples a second", _columns("original", "masked", "removed"), tuple(speeds)),
        Table("speed over that of the original", _columns("masked", "removed", "ceiling"), tuple(ratios)),
    ]


def _columns(*names: str) -> tuple[Column, ...]:
    """After the kind of lengths and the batch size."""
    return columns(["lengths"], ["batch", *names])


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
