"""`prune-heads train-mini`: make a built-in checkpoint anew."""

from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from prune_heads.mini.grammar import N_TRAIN, SPLITS


def _task(value: str) -> str:
    if value not in SPLITS:
        raise BadParameter(f"{value!r} is not one of {', '.join(SPLITS)}.")
    return value


def train_mini(
    task: Annotated[str, Option(callback=_task, help=f"The built-in task: {', '.join(SPLITS)}.")],
    output: Annotated[
        Path, Option("--output", "-o", help="Folder for model, configuration and tokenizer.", file_okay=False)
    ],
    seed: Annotated[int, Option(help="Of the initial weights; 0 gives the shipped checkpoint.")] = 0,
    epochs: Annotated[
        int | None, Option(min=1, help="Passes over 6000 fresh examples. (default: as for the shipped one)")
    ] = None,
) -> None:
    """Train the small model of a built-in task from scratch, on one CPU thread."""
    from prune_heads.cli.output import TerminalReporter
    from prune_heads.studies.train_mini import RECIPES, train, validation_metrics

    n_epochs = epochs or RECIPES[task].n_epochs
    with TerminalReporter().stage("training", n_epochs * N_TRAIN) as progress:
        train(task, output, seed=seed, n_epochs=n_epochs, progress=progress)
    for split, metrics in validation_metrics(task, output).items():
        print(f"{split}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
