"""The files of a sweep: its rows as CSV, Parquet and Markdown, a record, and the figure."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from prune_heads.canonical import canonical
from prune_heads.errors import RunError
from prune_heads.execution.folder import SweepFolder
from prune_heads.files import write_bytes, write_json, write_text, writing_into
from prune_heads.reporting.sweep_panels import Panel, panels, seeds_sentence
from prune_heads.reporting.sweep_results import Draws, Row, result_rows
from prune_heads.runs import RECORD_FILE
from prune_heads.tables import Page, Table, columns
from prune_heads.tables.writers import written

CSV_FILE, PARQUET_FILE, TABLE_FILE, FIGURE = "results.csv", "results.parquet", "table.md", "sweep"


def write_results(
    folder: SweepFolder, output: Path | None, draws: Draws = lambda values: True
) -> dict[str, Any]:
    """Write the tables of the trials that are done (CSV, Parquet, Markdown), and a record of the sweep.

    Args:
        folder: Of the sweep.
        output: None for that folder.
        draws: See `result_rows`.

    Raises:
        RunError: If none is done, a record is damaged, or the folder cannot be written to.
    """
    rows = _rows(folder, draws)
    target, record = output or folder.root, _record(folder)
    with writing_into("the folder of the table", target):
        write_json(target / RECORD_FILE, record)
        write_text(target / CSV_FILE, results_csv(rows))
        write_bytes(target / PARQUET_FILE, results_parquet(rows))
        write_text(target / TABLE_FILE, results_page(record["name"], rows).to_markdown())
    return {
        "name": record["name"],
        "files": [CSV_FILE, PARQUET_FILE, TABLE_FILE, RECORD_FILE],
        "rows": rows,
    }


def write_plot(
    folder: SweepFolder, output: Path | None, draws: Draws = lambda values: True
) -> dict[str, Any]:
    """Draw the trials that are done.

    Raises:
        RunError: As for `write_results`.
    """
    from prune_heads.reporting.figures import save, sweep_figure

    rows = _rows(folder, draws)
    target, name = output or folder.root, folder.about()["name"]
    with writing_into("the folder of the figure", target):
        target.mkdir(parents=True, exist_ok=True)
        save(sweep_figure(name, rows), target, FIGURE)
    return {
        "name": name,
        "files": [f"{FIGURE}.png", f"{FIGURE}.svg"],
        "n_trials": len({row["trial"] for row in rows}),
    }


def results_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV, numbers in full."""
    return written(list(rows[0]) if rows else [], (tuple(row.values()) for row in rows))


def results_parquet(rows: Sequence[Row]) -> bytes:
    """The rows as Parquet."""
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def results_page(name: str, rows: Sequence[Row]) -> Page:
    """The headline metrics: a table a panel, heads pruned down, lines across."""
    seeds = seeds_sentence(rows)
    said = (f"{seeds[0].upper()}{seeds[1:]}.",) if seeds else ()
    return Page(name, (*said, *map(_table, panels(rows))))


def _table(panel: Panel) -> Table:
    percents = sorted({at for points in panel.lines.values() for at in points})
    lines = panel.lines.values()
    return Table(
        f"{panel.title}: {panel.metric}, {panel.n_examples} examples",
        columns(["heads pruned", *(name or panel.metric for name in panel.lines)]),
        tuple((f"{at:.0f}%", *(_mean_and_range(points.get(at, ())) for points in lines)) for at in percents),
    )


def _mean_and_range(values: Sequence[float]) -> str:
    """`0.874`, and where seeds differ how much: `0.874 (0.861 to 0.880)`."""
    if not values:
        return ""
    mean, low, high = (f"{value:.4f}" for value in (sum(values) / len(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _record(folder: SweepFolder) -> dict[str, Any]:
    """What the sweep is, how far it is, and under which conditions its trials ran.

    `records` is one SHA-256 over all records in order: two sweeps with the same have found the same, to the last bit.
    """
    found, conditions = sha256(), {}
    names = list(folder.done())
    for name in names:
        record = folder.record(name)
        found.update(canonical(record).encode())
        conditions[canonical(record["provenance"])] = record["provenance"]
    return {
        "format": 1,
        "command": "sweep",
        **{key: value for key, value in folder.about().items() if key != "format"},
        "n_done": len(names),
        "records": found.hexdigest(),
        "provenance": [conditions[key] for key in sorted(conditions)],
    }


def _rows(folder: SweepFolder, draws: Draws) -> list[Row]:
    rows = list(result_rows(folder, draws))
    if not rows:
        raise RunError(
            f"a table needs trials that are done; {folder.root.name} has none yet. 'prune-heads sweep status' says why"
        )
    return rows
