"""The job of `prune-heads curve`."""

from functools import partial
from pathlib import Path
from typing import Any

from prune_heads.files import new_directory, write_json, write_text
from prune_heads.jobs.folder import TABLE_FILE
from prune_heads.progress import Reporter
from prune_heads.reporting.curves import curve_csv, curve_page
from prune_heads.reporting.figures import criteria_figure, save
from prune_heads.runs import RECORD_FILE, check_output
from prune_heads.studies.curves import Curves, curves
from prune_heads.studies.setup import Setup

CURVES_FILE = "curves.csv"


def curve_job(
    setup: Setup, options: Curves, reporter: Reporter, *, output: Path | None, overwrite: bool = False
) -> dict[str, Any]:
    """Draw the curves and keep them in `output`: record, table, points and figure.

    Raises:
        PruneHeadsError: If the study fails, or `output` holds something else.
    """
    admit = partial(check_output, output, overwrite=overwrite)
    record = curves(setup, options, reporter, admit=admit)
    if output is not None:
        with new_directory(output) as folder:
            write_json(folder / RECORD_FILE, record)
            write_text(folder / TABLE_FILE, curve_page(record).to_markdown())
            write_text(folder / CURVES_FILE, curve_csv(record))
            save(criteria_figure(record), folder, "curve")
    return record
