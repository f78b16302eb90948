"""The speed of a model with and without heads, in the terminal and in Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prune_heads.reporting.words import share
from prune_heads.tables import Page, Table, columns


def bench_page(record: Mapping[str, Any], *, whole: bool = False) -> Page:
    """Examples a second, then ratios; a row for each kind of lengths (its tokens with padding) and batch size.

    Args:
        record: Of `prune-heads bench`.
        whole: With the ratio of each run, the heads and the notes: for a file.
    """

    def table(title: str, names: Sequence[str], cells: Callable[[Mapping[str, Any]], Iterable[str]]) -> Table:
        firsts = ((f"{row['lengths']} {row['n_tokens']:.0f}", str(row["batch_size"])) for row in record["rows"])
        rows = tuple((*first, *cells(row)) for first, row in zip(firsts, record["rows"], strict=True))
        return Table(title, columns(["lengths"], ["batch", *names]), rows)

    made, options = record["provenance"], record["configuration"]
    passes = max(row["n_passes"] for row in record["rows"])
    again = f", repeated up to {passes} times to take {record['shortest_seconds']:g} s" if passes > 1 else ""
    parts: list[Table | str] = [
        table("examples a second", ("original", "masked", "removed"), _speeds),
        table("speed over that of the original", ("masked", "removed", "ceiling"), _ratios),
        f"Mean and standard deviation of {options['runs']} runs; a run times one forward pass of each side in turn"
        f"{again}.",
        "Ratios: the median of those of each run (lowest to highest); ceiling: the ratio of the multiply-adds.",
    ]
    if whole:
        runs = [f"run {run + 1}" for run in range(options["runs"])]
        title = "removed / original in each run"
        each = table(title, runs, lambda row: map("{:.2f}".format, row["ratio"]["removed"]["each"]))
        parts += [each, f"Heads removed (layer:heads, from 1): {' '.join(record['heads_pruned'])}"]
        parts += [f"Note: {note}" for note in record["notes"]]
    on = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}" if made["device"] == "cpu" else made["device"]
    title = f"{record['model']['name']} on {record['task']}: {share(record)}; {options['dtype']}, {on}"
    return Page(title, tuple(parts))


def _speeds(row: Mapping[str, Any]) -> Iterable[str]:
    return (f"{speed['mean']:,.1f} ± {speed['deviation']:.1f}" for speed in row["examples_per_second"].values())


def _ratios(row: Mapping[str, Any]) -> Iterable[str]:
    for ratio in row["ratio"].values():
        yield f"{ratio['median']:.2f}x ({min(ratio['each']):.2f} to {max(ratio['each']):.2f})"
    yield "-" if row["ceiling"] is None else f"{row['ceiling']:.2f}x"
