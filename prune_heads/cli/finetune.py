"""`prune-heads finetune`: a pretrained model becomes a classifier of the task."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json, Overwrite, SetupOptions
from prune_heads.cli.output import TerminalReporter, show


def _steps(text: str | None) -> tuple[int, ...]:
    """`"0, 50"` as `(0, 50)`."""
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]+", part) for part in parts):
        raise BadParameter(f"'--keep-steps' must be numbers of steps, comma-separated: 0,50; got {text!r}.")
    return tuple(sorted({int(part) for part in parts}))


@dataclass(frozen=True)
class StartOptions(SetupOptions):
    """The options of a setup; the model is a pretrained one."""

    model: Annotated[str, Option(help="A pretrained model: a folder, a model on the hub, or 'mini'.")] = (
        "google-bert/bert-base-uncased"
    )


@grouped
def finetune(
    setup: StartOptions,
    config: Config = None,
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Folder for the checkpoint and its record; a killed run goes on."),
    ] = None,
    epochs: Annotated[int, Option(min=1, help="Passes over the training split.")] = 3,
    learning_rate: Annotated[float, Option(min=0, help="At its highest.")] = 2e-5,
    warmup: Annotated[float, Option(min=0, max=0.99, help="Share of the steps in which it rises.")] = 0.1,
    weight_decay: Annotated[float, Option(min=0, help="Of matrices, by AdamW.")] = 0.01,
    seed: Annotated[int, Option(min=0, help="Of the new head, the order of examples and the dropout.")] = 42,
    group_by_length: Annotated[
        bool,
        Option(
            "--group-by-length/--no-group-by-length",
            help="Batches of texts of like length: less padding, but no batch is a plain draw.",
        ),
    ] = True,
    keep_epochs: Annotated[
        bool, Option("--keep-epochs", help="Keep the checkpoint of each epoch, as epoch-1, epoch-2, ...")
    ] = False,
    keep_steps: Annotated[
        str | None, Option(help="Keep checkpoints after these steps, 0 being the start: 0,50,100.")
    ] = None,
    save_minutes: Annotated[
        float, Option(min=0, help="Between two saves from which a killed run goes on.")
    ] = 10.0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a pretrained model on a task, with the paper's settings, by transformers' Trainer."""
    if output is None:
        raise BadParameter("--output must name a folder for the checkpoint.")
    from prune_heads.jobs.finetune import finetune_job
    from prune_heads.reporting.finetuning import finetuning_table
    from prune_heads.studies.training import Recipe

    recipe = Recipe(
        epochs, learning_rate, warmup, weight_decay, seed, group_by_length, keep_epochs, _steps(keep_steps)
    )
    record = finetune_job(
        setup.resolve(),
        recipe,
        TerminalReporter(),
        output=output,
        save_seconds=60 * save_minutes,
        overwrite=overwrite,
    )
    show(record, finetuning_table(record), as_json=as_json)
