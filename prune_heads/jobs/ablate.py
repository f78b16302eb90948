"""The job of `prune-heads ablate`."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from prune_heads.execution.cluster import connected
from prune_heads.execution.shards import Shards
from prune_heads.files import new_directory, write_json, write_text
from prune_heads.jobs.folder import TABLE_FILE
from prune_heads.progress import Reporter
from prune_heads.reporting.ablation import ablation_csv, ablation_latex, ablation_page, best_csv
from prune_heads.reporting.figures import ablation_histogram, ablation_maps, ablation_scatter, save
from prune_heads.runs import RECORD_FILE, check_output
from prune_heads.studies.ablating import ablate
from prune_heads.studies.measuring import Ablation
from prune_heads.studies.setup import Setup
from prune_heads.studies.spreading import Spread


def ablate_job(
    setup: Setup,
    options: Ablation,
    reporter: Reporter,
    *,
    output: Path | None = None,
    overwrite: bool = False,
    shards: Shards | None = None,
) -> dict[str, Any]:
    """Ablate, and keep record, tables (Markdown, LaTeX, CSV) and figures in `output`; `shards` do the long part.

    Raises:
        PruneHeadsError: If the study fails, or `output` holds something else.
    """
    admit = partial(check_output, output, overwrite=overwrite)
    spread = None if shards is None else Spread(setup, shards, reporter)
    with nullcontext() if shards is None else connected(shards.address):  # first of all: it may not be there
        record = ablate(setup, options, reporter, admit=admit, spread=spread)
    if output is None:
        return record
    with new_directory(output) as folder:
        write_json(folder / RECORD_FILE, record)
        write_text(folder / TABLE_FILE, ablation_page(record).to_markdown())
        write_text(folder / "table.tex", ablation_latex(record))
        write_text(folder / "ablations.csv", ablation_csv(record))
        if record["tables"][0]["best"]:
            write_text(folder / "best.csv", best_csv(record))
        save(ablation_maps(record), folder, "differences")
        save(ablation_histogram(record), folder, "histogram")
        if record["correlations"]:
            save(ablation_scatter(record), folder, "scatter")
    return record


def contract(record: dict[str, Any]) -> dict[str, Any]:
    """What `prune-heads ablate --json` prints: the first split's table, then all of them with what joins them."""
    first = record["tables"][0]
    return {**first, **{name: record[name] for name in ("task", "model", "tables", "correlations", "flips")}}
