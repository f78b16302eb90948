"""The rows of a sweep as CSV, Parquet and Markdown."""

from collections.abc import Sequence

from prune_heads.reporting.sweep_panels import panels, seeds_sentence
from prune_heads.reporting.sweep_results import Row
from prune_heads.tables.csv import written
from prune_heads.tables.markdown import document, markdown_table


def results_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, numbers in full."""
    heading = list(rows[0]) if rows else []
    return written(heading, (tuple(row.values()) for row in rows))


def results_parquet(rows: Sequence[Row]) -> bytes:
    """The rows as Parquet."""
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def rows_of_parquet(content: bytes) -> list[Row]:
    """What `results_parquet` was given."""
    import pyarrow
    from pyarrow import parquet

    rows: list[Row] = parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    return rows


def results_markdown(name: str, rows: Sequence[Row]) -> str:
    """The headline metrics in Markdown: a table a panel, heads pruned down, lines across."""
    seeds = seeds_sentence(rows)
    parts = [f"# {name}", *([f"{seeds[0].upper()}{seeds[1:]}."] if seeds else [])]
    for panel in panels(rows):
        percents = sorted({at for points in panel.lines.values() for at in points})
        body = [
            [f"{at:.0f}%", *(_mean_and_range(points.get(at, ())) for points in panel.lines.values())]
            for at in percents
        ]
        parts.append(f"## {panel.title}: {panel.metric}, {panel.n_examples} examples")
        parts.append(markdown_table(["heads pruned", *(line or panel.metric for line in panel.lines)], body))
    return document(parts)


def _mean_and_range(values: Sequence[float]) -> str:
    """`0.874`, and where seeds differ how much: `0.874 (0.861 to 0.880)`."""
    if not values:
        return ""
    mean, low, high = (f"{value:.4f}" for value in (sum(values) / len(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"
