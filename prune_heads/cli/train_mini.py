"""`prune-heads train-mini`: make a built-in checkpoint anew."""

from pathlib import Path
from typing import Annotated

import typer

from prune_heads.mini.grammar import TASKS


def train_mini(
    task: Annotated[str, typer.Option(help=f"The built-in task: {', '.join(TASKS)}.")],
    output: Annotated[
        Path, typer.Option(help="Folder for model, configuration and tokenizer.", file_okay=False)
    ],
    seed: Annotated[int, typer.Option(help="Of the initial weights; 0 gives the shipped checkpoint.")] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over 6000 fresh examples; default: as for the shipped one."),
    ] = None,
) -> None:
    """Train the small BERT of a built-in task from scratch, on one CPU thread."""
    from rich.console import Console
    from rich.progress import Progress

    from prune_heads.studies.train_mini import train, validation_metrics

    with Progress(console=Console(stderr=True)) as bar:
        line = bar.add_task("training")
        train(
            task,
            output,
            seed=seed,
            n_epochs=epochs,
            progress=lambda done, n_epochs, loss: bar.update(
                line,
                completed=done,
                total=n_epochs,
                description=f"epoch {done} of {n_epochs}, loss {loss:.3f}",
            ),
        )
    for split, metrics in validation_metrics(task, output).items():
        typer.echo(f"{split}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
