"""`prune-heads compare`: which criterion to believe, on one's own models and tasks."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from prune_heads.cli.groups import Shown
from prune_heads.cli.output import TerminalReporter
from prune_heads.cli.reproduce import planned, recipes
from prune_heads.cli.signals import interruptible
from prune_heads.cli.sweep import Workers
from prune_heads.errors import RunError
from prune_heads.execution.claims import held
from prune_heads.execution.folder import SWEEP_FILE, SweepFolder
from prune_heads.execution.worker import Worker
from prune_heads.options import Comparing, Folder, Setup
from prune_heads.progress import Reporter
from prune_heads.reporting.sweep import display, status_report

_WORK = "sweep"  # the folder of the trials, in that of the comparison


def compare(
    setup: Annotated[dict[str, Any], Setup],
    options: Annotated[dict[str, Any], Comparing],
    workers: Workers,
    output: Annotated[
        Path, Option("--output", "-o", help="Folder for the record, the table, the figures and the trials.")
    ],
    config: Annotated[
        Path | None, Option(help="TOML file of options, with a [\\[subject]] for each model and task.")
    ] = None,
) -> Shown:
    """Run the trials that are not done yet, and say what came out."""
    subjects = planned("compare", config and config.resolve(), {**setup, **options}, Comparing)
    from prune_heads.runs import RECORD_FILE, Study, check_output, write_files
    from prune_heads.studies.comparing import BeginTrials, Ground, subjects_of, sweep_of
    from prune_heads.studies.yardsticks import comparison

    output, work = output.resolve(), output.resolve() / _WORK
    for make in recipes(subjects):
        make()
    compared = subjects_of([(each.setup, each.conditions, each.group) for each in subjects])
    sweep = sweep_of(compared)
    check = partial(check_output, Folder(output))
    with held(output, TerminalReporter()):
        is_begun = (work / SWEEP_FILE).is_file()  # then the folder of the trials says whose it is
        study = Study("compare", TerminalReporter() if is_begun else TerminalReporter(check))
        study.begin(asked=[each.asked for each in compared], trials=sweep.digest)
        for each in compared if not is_begun else ():
            Ground(each, Reporter())  # what cannot be compared is refused before any trial
        folder = SweepFolder.open(work, sweep)
        folder.forget_failures()  # the same command tries them again
        with display(folder, sweep, as_json=False) as tell, interruptible() as stopping:
            Worker(folder, sweep.trials, BeginTrials(tuple(compared)), workers.start(), tell, stopping).work()
        report = status_report(folder)
        if report["errors"]:
            n, first = report["failed"], report["errors"][0]["error"].rstrip(".")
            raise RunError(f"{n} of {report['n_trials']} trials failed: {first}. The same command tries them again")
        if stopping():
            raise typer.Exit(1)
        record, seconds = comparison(study, compared, folder, TerminalReporter)
        from prune_heads.reporting.comparison import comparison_page
        from prune_heads.reporting.folders import of_record
        from prune_heads.reproduction import fill

        write_files(output, {**of_record(record), "seconds.json": seconds, RECORD_FILE: record})
        fill(output.parent / "criteria.md")
    yield record, comparison_page(record, narrow=True)
