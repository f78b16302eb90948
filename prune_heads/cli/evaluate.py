"""`prune-heads evaluate`: the task's metrics, with some heads gated."""

from typing import Annotated

from typer import Option

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json, Output, Overwrite, StoredSetupOptions
from prune_heads.cli.output import TerminalReporter, show


@grouped
def evaluate(
    setup: StoredSetupOptions,
    heads: Annotated[
        str, Option(help="Heads to mask, from 1: '3:1,5 7:2'; or a heads.json. (default: none)")
    ] = "",
    split: Annotated[str | None, Option(help="Default: the task's first validation split.")] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Evaluate a model on a task with the named heads masked; the checkpoint stays as it is."""
    from prune_heads.jobs.steps import evaluate_job
    from prune_heads.reporting.terminal import evaluation_table

    report = evaluate_job(
        setup.resolve(), heads, split, TerminalReporter(), output=output, overwrite=overwrite
    )
    show(report, evaluation_table(report), as_json=as_json)
