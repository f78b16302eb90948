"""`prune-heads prune`: write a checkpoint without some heads."""

from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from prune_heads.cli.choosing import ChoiceOptions
from prune_heads.cli.groups import grouped
from prune_heads.cli.names import ModeName
from prune_heads.cli.options import Json, ModelOptions, Overwrite
from prune_heads.cli.output import TerminalReporter, show


@grouped
def prune(
    setup: ModelOptions,
    choice: ChoiceOptions,
    output: Annotated[Path, Option("--output", "-o", help="Folder for heads.json and the checkpoint.")],
    scores: Annotated[Path | None, Option(help="A scores.json, to choose heads by; lowest first.")] = None,
    mode: Annotated[ModeName, Option(help="Zero the weights of heads, or remove them.")] = ModeName.zero,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Zero or remove heads, named by --heads or chosen by --scores, and save the checkpoint."""
    from prune_heads.jobs.steps import prune_job
    from prune_heads.reporting.terminal import pruned_table

    if (scores is None) == (choice.heads is None):
        raise BadParameter("Heads must be named by --heads or chosen by --scores, one of the two.")
    record = prune_job(
        setup.resolve(),
        choice.resolve(),
        mode.value,
        TerminalReporter(),
        scores=scores,
        output=output,
        overwrite=overwrite,
    )
    show(record, pruned_table(record), as_json=as_json)
