"""`prune-heads tasks`, `criteria`, `models`: what there is."""

from typing import Annotated

from typer import Option

from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show


def tasks(as_json: Json = False) -> None:
    """List the tasks, their labels, metrics and splits."""
    from prune_heads.reporting.listings import task_rows, task_table

    show({"tasks": task_rows()}, task_table(), as_json=as_json)


def criteria(as_json: Json = False) -> None:
    """List the criteria of importance, the estimators and the normalisations."""
    from prune_heads.reporting.listings import criterion_rows, criterion_table

    show(criterion_rows(), criterion_table(), as_json=as_json)


def models(
    try_now: Annotated[
        bool,
        Option(
            "--try",
            help="Try the default configuration of each with the installed transformers, for a minute.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the model types whose heads can be gated, zeroed and removed, and why others cannot."""
    from prune_heads.coverage.table import committed_table
    from prune_heads.reporting.listings import model_table

    if try_now:
        from prune_heads.coverage.trial import all_types, try_all

        types = all_types()
        with TerminalReporter().stage("trying types", len(types)) as progress:
            table = try_all(types, progress)
    else:
        table = committed_table()
    show(table, model_table(table), as_json=as_json)
