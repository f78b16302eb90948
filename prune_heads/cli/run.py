"""`prune-heads run`: score, choose, prune, re-evaluate."""

import time
from typing import TYPE_CHECKING

from typer import BadParameter

from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, say_duration, show
from prune_heads.options import Choice, RunFolder, RunOptions, Scoring, Setup

if TYPE_CHECKING:
    from prune_heads.runs import Files


@grouped
def run(
    setup: Setup,
    choice: Choice,
    scoring: Scoring,
    options: RunOptions,
    folder: RunFolder,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Score the heads of a model on a task, prune the least important ones and evaluate again.

    Without options it prunes half of the heads of the built-in model on a built-in task, offline.
    """
    from prune_heads.reporting.terminal import run_report
    from prune_heads.runs import admission, keep
    from prune_heads.studies.lab import Lab
    from prune_heads.studies.run import run

    started = time.perf_counter()
    if folder.save_checkpoint and folder.output is None:
        raise BadParameter("--save-checkpoint needs an --output folder.")
    result = run(Lab(setup, TerminalReporter()), scoring, choice, options, admit=admission(folder))

    def files() -> "Files":  # it imports all figures, which a run without a folder does not need
        from prune_heads.reporting.folders import run_files

        return run_files(result, checkpoint=folder.save_checkpoint)

    keep(folder, result.record, files)
    report = result.scored.report() if result.scored else None
    show(result.record, run_report(result.record, report), as_json=as_json)
    say_duration(started)
