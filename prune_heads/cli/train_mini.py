"""`prune-heads train-mini`: train a model for a built-in task."""

from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from prune_heads.tasks.spec import MINI, TASKS, task_name


def _task(value: str) -> str:
    if task_name(value) not in MINI:
        raise BadParameter(f"{value!r} is not one of {', '.join(MINI)}.")
    return task_name(value)


def train_mini(
    task: Annotated[str, Option(callback=_task, help=f"The built-in task: {', '.join(MINI)}.")],
    output: Annotated[
        Path, Option("--output", "-o", help="Folder for model, configuration and tokenizer.", file_okay=False)
    ],
    seed: Annotated[int, Option(help="Seed of the initial weights and of the order of the examples.")] = 0,
    epochs: Annotated[
        int | None,
        Option(min=1, help="Passes over the 6000 training examples. (default: as for the shipped one)"),
    ] = None,
) -> None:
    """Train a small model for a built-in task from scratch, on one CPU thread.

    The shipped models saw fresh examples in each epoch: 'python -m experiments.mini.train' in the repository.
    """
    from prune_heads.cli.output import TerminalReporter, show
    from prune_heads.evaluator import Evaluator
    from prune_heads.studies.train_mini import N_EXAMPLES, RECIPES, train
    from prune_heads.tables.terminal import line

    n_epochs = epochs or RECIPES[task].n_epochs
    with TerminalReporter().stage("training", n_epochs * N_EXAMPLES) as progress:
        train(task, output, seed=seed, n_epochs=n_epochs, progress=progress)
    for split in TASKS[task].eval_splits:
        metrics = Evaluator(str(output), task, split=split).evaluate().metrics
        words = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        show(metrics, line(f"{split}: {words}"), as_json=False)
