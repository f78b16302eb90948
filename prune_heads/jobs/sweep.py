"""The jobs of `prune-heads sweep results` and `plot`: from records to a table and a figure."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from prune_heads.canonical import canonical
from prune_heads.errors import RunError
from prune_heads.execution.folder import SweepFolder
from prune_heads.files import write_bytes, write_json, write_text, writing_into
from prune_heads.jobs.folder import TABLE_FILE
from prune_heads.reporting.sweep_forms import results_csv, results_markdown, results_parquet
from prune_heads.reporting.sweep_results import Draws, Row, result_rows
from prune_heads.runs import RECORD_FILE

CSV_FILE, PARQUET_FILE, FIGURE = "results.csv", "results.parquet", "sweep"


def results_job(
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
        write_text(target / TABLE_FILE, results_markdown(record["name"], rows))
    return {
        "name": record["name"],
        "files": [CSV_FILE, PARQUET_FILE, TABLE_FILE, RECORD_FILE],
        "rows": rows,
    }


def plot_job(folder: SweepFolder, output: Path | None, draws: Draws = lambda values: True) -> dict[str, Any]:
    """Draw the trials that are done.

    Raises:
        RunError: As for `results_job`.
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
