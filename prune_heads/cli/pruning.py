"""`prune-heads run`, and its steps on their own: `score`, `prune`, `evaluate`, `export`; `finetune`, `train-mini`."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import BadParameter, Option

from prune_heads.cli.config import Config
from prune_heads.cli.groups import Json, Without, grouped
from prune_heads.cli.output import TerminalReporter, say_duration, show
from prune_heads.options import (
    Choice,
    Cluster,
    Export,
    Folder,
    Masked,
    NewFolder,
    Recipe,
    RunFolder,
    RunOptions,
    Scoring,
    Setup,
    Start,
    Surgery,
    TrainingFolder,
    WrittenModel,
)
from prune_heads.tasks.spec import MINI, TASKS, task_name

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


@grouped
def score(setup: Setup, scoring: Scoring, cluster: Cluster, folder: Folder, as_json: Json = False) -> None:
    """Score every head; --output keeps the scores, the gradients of each example and a heat map.

    With --executor ray the workers of a cluster share the examples, or the masks of the criterion 'ablation'.
    """
    from prune_heads.importance import criterion_of
    from prune_heads.reporting.folders import score_files
    from prune_heads.reporting.terminal import score_table
    from prune_heads.runs import admission, keep
    from prune_heads.studies.spreading import spread_over
    from prune_heads.studies.steps import score_heads

    criterion = criterion_of(scoring.criterion)  # one's own that does not fit is refused before all else
    reporter = TerminalReporter()
    if cluster.shards is not None and not criterion.needs_data:
        name = scoring.criterion  # no note of a record, which is the same wherever it was computed
        typer.echo(f"note: {name} looks at no examples and is done at once: here, not on a cluster", err=True)
        cluster = Cluster()
    with spread_over(setup, cluster, reporter) as spread:
        record, scored = score_heads(setup, scoring, reporter, admit=admission(folder), spread=spread)
    keep(folder, record, lambda: score_files(scored))
    report = scored.report()
    show(report, score_table(report), as_json=as_json)


@grouped
def prune(model: WrittenModel, choice: Choice, options: Surgery, folder: NewFolder, as_json: Json = False) -> None:
    """Zero or remove the heads that --heads names or --scores chooses, and save the checkpoint."""
    from prune_heads.reporting.folders import pruned_files
    from prune_heads.reporting.terminal import pruned_table
    from prune_heads.runs import admission, keep
    from prune_heads.studies.steps import prune_heads

    if (options.scores is None) == (choice.heads is None):
        raise BadParameter("Heads must be named by --heads or chosen by --scores, one of the two.")
    record, mask, pruned = prune_heads(model, choice, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: pruned_files(mask, pruned.model, pruned.tokenizer))
    show(record, pruned_table(record), as_json=as_json)


@grouped
def evaluate(setup: Setup, options: Masked, folder: Folder, as_json: Json = False) -> None:
    """Evaluate a model on a task with some heads masked; the checkpoint is not changed."""
    from prune_heads.reporting.folders import HEADS_FILE
    from prune_heads.reporting.terminal import evaluation_table
    from prune_heads.runs import admission, keep
    from prune_heads.studies.steps import evaluate_heads

    record, mask, report = evaluate_heads(setup, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: {HEADS_FILE: mask.to_json()})
    show(report, evaluation_table(report), as_json=as_json)


@grouped
def export(options: Export, folder: NewFolder, as_json: Json = False) -> None:
    """Write a checkpoint for plain transformers, or an ONNX file.

    Its logits are compared with the model's. If they differ, nothing is kept.
    """
    from prune_heads.reporting.terminal import export_table
    from prune_heads.studies.exporting import export_into

    record = export_into(options, TerminalReporter(), folder)
    show(record, export_table(record), as_json=as_json)


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
    from prune_heads.studies.finetuning import finetune_into

    there = NewFolder(folder.output, folder.overwrite)
    record = finetune_into(setup, recipe, TerminalReporter(), there, finetuning_files)
    show(record, finetuning_table(record), as_json=as_json)


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
        int | None, Option(min=1, help="Passes over the 6000 training examples. (default: as for the shipped one)")
    ] = None,
) -> None:
    """Train a small model for a built-in task from scratch, on one CPU thread.

    The shipped models saw fresh examples in each epoch: 'python -m experiments.mini.train' in the repository.
    """
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
