"""The jobs of `prune-heads sweep results` and `plot`: from records to a table and a figure."""

from pathlib import Path
from typing import Any

from prune_heads.errors import RunError
from prune_heads.execution.folder import SweepFolder
from prune_heads.files import write_bytes, write_text
from prune_heads.reporting.sweep_results import Row, result_rows, results_csv, results_parquet

CSV_FILE, PARQUET_FILE, FIGURE = "results.csv", "results.parquet", "sweep"


def results_job(folder: SweepFolder, output: Path | None) -> dict[str, Any]:
    """Write the table of the trials that are done.

    Raises:
        RunError: If none is done, a record is damaged, or the folder cannot be written to.
    """
    rows = _rows(folder)
    target = output or folder.root
    try:
        write_text(target / CSV_FILE, results_csv(rows))
        write_bytes(target / PARQUET_FILE, results_parquet(rows))
    except OSError as error:
        raise RunError(
            f"the folder of the table must be writable; got {target} ({error.strerror})"
        ) from error
    return {"name": folder.about()["name"], "files": [CSV_FILE, PARQUET_FILE], "rows": rows}


def plot_job(folder: SweepFolder, output: Path | None) -> dict[str, Any]:
    """Draw the trials that are done.

    Raises:
        RunError: As for `results_job`.
    """
    from prune_heads.reporting.figures import save, sweep_figure

    rows = [row for row in _rows(folder) if row["headline"]]
    target, name = output or folder.root, folder.about()["name"]
    try:
        target.mkdir(parents=True, exist_ok=True)
        save(sweep_figure(name, rows), target, FIGURE)
    except OSError as error:
        raise RunError(
            f"the folder of the figure must be writable; got {target} ({error.strerror})"
        ) from error
    return {
        "name": name,
        "files": [f"{FIGURE}.png", f"{FIGURE}.svg"],
        "n_trials": len({row["trial"] for row in rows}),
    }


def _rows(folder: SweepFolder) -> list[Row]:
    rows = list(result_rows(folder))
    if not rows:
        raise RunError(
            f"a table needs trials that are done; {folder.root.name} has none yet. 'prune-heads sweep status' says why"
        )
    return rows
