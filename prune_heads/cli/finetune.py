"""`prune-heads finetune`: a pretrained model becomes a classifier of the task."""

from typing import Annotated

from typer import BadParameter

from prune_heads.cli.config import Config
from prune_heads.cli.groups import Without, grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import NewFolder, Recipe, Start, TrainingFolder


@grouped
def finetune(
    setup: Annotated[Start, Without("store")],
    recipe: Recipe,
    folder: TrainingFolder,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a pretrained model on a task, with the paper's settings, by transformers' Trainer."""
    if folder.output is None:
        raise BadParameter("--output must name a folder for the checkpoint.")
    from prune_heads.reporting.folders import finetuning_files
    from prune_heads.reporting.terminal import finetuning_table
    from prune_heads.studies.finetune_folder import finetune_into

    there = NewFolder(folder.output, folder.overwrite)
    record = finetune_into(setup, recipe, TerminalReporter(), there, finetuning_files)
    show(record, finetuning_table(record), as_json=as_json)
