"""The job of `prune-heads run`."""

from functools import partial
from pathlib import Path

from prune_heads.files import new_directory, write_json, write_text
from prune_heads.jobs.folder import HEADS_FILE, TABLE_FILE, write_checkpoint, write_scores
from prune_heads.progress import Reporter
from prune_heads.reporting.figures import curve_figure, save
from prune_heads.reporting.terminal import run_page
from prune_heads.runs import RECORD_FILE, check_output
from prune_heads.studies.lab import Lab
from prune_heads.studies.run import RunOptions, RunResult, run
from prune_heads.studies.scoring import Scoring
from prune_heads.studies.setup import Setup


def run_job(
    setup: Setup,
    scoring: Scoring,
    options: RunOptions,
    reporter: Reporter,
    *,
    output: Path | None,
    save_checkpoint: bool = False,
    overwrite: bool = False,
) -> RunResult:
    """Run the study and keep it in `output`: record, heads, scores, figures and, if asked, the checkpoint.

    Raises:
        PruneHeadsError: If the study fails, or `output` holds something else.
    """
    admit = partial(check_output, output, overwrite=overwrite)
    result = run(Lab(setup, reporter), scoring, options, admit=admit)
    if output is None:
        return result
    with new_directory(output) as folder:
        write_json(folder / RECORD_FILE, result.record)
        write_json(folder / HEADS_FILE, result.mask.to_json())
        write_text(folder / TABLE_FILE, run_page(result.record).to_markdown())
        if result.scored is not None:
            write_scores(result.scored, folder, pruned=result.mask.descriptors())
        if result.record["curve"]:
            save(curve_figure(result.record), folder, "curve")
        if save_checkpoint:
            write_checkpoint(result.model, result.tokenizer, folder)
    return result
