"""The speed of a model with and without heads, in the terminal and in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prune_heads.reporting.words import share
from prune_heads.tables import Page, Table, columns


def bench_page(record: Mapping[str, Any], *, whole: bool = False) -> Page:
    """Examples a second, then ratios; a row for each kind of lengths and batch size.

    Args:
        record: Of `prune-heads bench`.
        whole: With the ratio of each run, the heads and the notes: for a file.
    """
    parts: list[Table | str] = [
        _table("examples a second", ("original", "masked", "removed"), record, _speeds),
        _table("speed over that of the original", ("masked", "removed", "ceiling"), record, _ratios),
        *_notes(record),
    ]
    if whole:
        runs = [f"run {run + 1}" for run in range(record["configuration"]["runs"])]
        parts.append(_table("removed / original in each run", runs, record, _each_ratio))
        parts.append(f"Heads removed (layer:heads, from 1): {' '.join(record['heads_pruned'])}")
        parts += [f"Note: {note}" for note in record["notes"]]
    return Page(_title(record), tuple(parts))


def _title(record: Mapping[str, Any]) -> str:
    """Model, task, heads and machine."""
    where = record["provenance"]["device"]
    threads = record["provenance"]["threads"]
    on = f"{threads} thread{'s' if threads > 1 else ''}" if where == "cpu" else where
    return f"{record['model']['name']} on {record['task']}: {share(record)}; {record['configuration']['dtype']}, {on}"


def _table(
    title: str, names: Sequence[str], record: Mapping[str, Any], cells: Callable[[Mapping[str, Any]], Iterable[str]]
) -> Table:
    """After the kind of lengths with its tokens, padding included, and the batch size: cells of these names."""
    rows = ((f"{row['lengths']} {row['n_tokens']:.0f}", str(row["batch_size"]), *cells(row)) for row in record["rows"])
    return Table(title, columns(["lengths"], ["batch", *names]), tuple(rows))


def _speeds(row: Mapping[str, Any]) -> Iterable[str]:
    speeds = row["examples_per_second"].values()
    return (f"{speed['mean']:,.1f} ± {speed['deviation']:.1f}" for speed in speeds)


def _ratios(row: Mapping[str, Any]) -> Iterable[str]:
    for ratio in row["ratio"].values():
        yield f"{ratio['median']:.2f}x ({min(ratio['each']):.2f} to {max(ratio['each']):.2f})"
    yield "-" if row["ceiling"] is None else f"{row['ceiling']:.2f}x"


def _each_ratio(row: Mapping[str, Any]) -> Iterable[str]:
    return (f"{ratio:.2f}" for ratio in row["ratio"]["removed"]["each"])


def _notes(record: Mapping[str, Any]) -> list[str]:
    passes = [row["n_passes"] for row in record["rows"]]
    again = f", repeated up to {max(passes)} times to take {record['shortest_seconds']:g} s" if max(passes) > 1 else ""
    return [
        f"Mean and standard deviation of {record['configuration']['runs']} runs; a run times one forward pass of each "
        f"side in turn{again}.",
        "Ratios: the median of those of each run (lowest to highest); ceiling: the ratio of the multiply-adds.",
    ]
