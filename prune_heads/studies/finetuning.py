"""Fine-tune a pretrained model on a task: `prune-heads finetune`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import transformers

from prune_heads.checkpoints import Classifier, fingerprint
from prune_heads.checkpoints.to_finetune import load_to_finetune
from prune_heads.errors import PruneHeadsError, TaskError
from prune_heads.evaluation import Subject
from prune_heads.objectives import check_objective, serving
from prune_heads.options import Recipe, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import record_of
from prune_heads.studies.clock import Clock
from prune_heads.studies.setup import identify, limit_threads, load_split, load_splits, resolve_device
from prune_heads.studies.training import check_steps, train
from prune_heads.tasks.task import load_task


@dataclass(frozen=True)
class Finetuned:
    """A fine-tuned model and its record."""

    classifier: Classifier
    record: dict[str, Any]


# long: one study from its options to its record, a stage a paragraph
def finetune(
    setup: Setup,
    recipe: Recipe,
    work: Path,
    reporter: Reporter,
    *,
    admit: Callable[[dict[str, Any]], None] = lambda identity: None,
) -> Finetuned:
    """Fine-tune on the task's training split, and measure on its validation splits after each epoch.

    Args:
        setup: Model, task and conditions.
        recipe: How.
        work: Where a killed process goes on; see `train`.
        reporter: Told about stages and notes.
        admit: Called with the identity before the long work; it may refuse by raising.

    Raises:
        PruneHeadsError: If model and task cannot be loaded or do not fit, or the training does not stay finite.
    """
    clock = Clock()
    task = load_task(setup.task, data_dir=setup.data_dir, own=setup.own)
    check_objective(task.spec, setup.objective)
    objective = serving(task.spec, setup.objective)[0]
    if not objective.trains:
        raise TaskError(
            f"fine-tuning needs a task with labels to train on; {task.spec.name} ({objective.name}) is none"
        )
    device = resolve_device(setup.device)
    if setup.dtype == "float16" and device.type == "cpu":
        raise PruneHeadsError("--dtype float16 needs a GPU to train on; take bfloat16 or float32 on a CPU")
    transformers.set_seed(recipe.seed)  # the trainer sets it again; this one is for the new head
    start = load_to_finetune(
        setup.model,
        task.spec.labels,
        head=objective.head,
        problem=objective.problem,
        task=setup.task,
        trust_remote_code=setup.trust_remote_code,
    )
    for note in start.notes:
        reporter.note(note)
    if start.drawn:
        reporter.note(f"drawn at random, for the checkpoint lacks them: {', '.join(start.drawn)}")
    limit_threads(start)
    subject = Subject.of(
        start,
        task,
        objective=setup.objective,
        batch_size=setup.batch_size,
        max_length=setup.max_length,
        device=device,
    )
    trained_on = load_split(setup, subject, task.spec.score_split, reporter)
    splits = load_splits(setup, subject, (), reporter)
    identity = {
        "configuration": {**setup.configuration(), **recipe.configuration()},
        **identify(subject, [trained_on, *splits]),
    }
    batches = replace(subject.batches(trained_on), batch_size=setup.batch_size)
    check_steps(recipe, batches)
    admit(identity)
    clock.lap("load")
    epochs = train(
        subject,
        batches,
        splits,
        recipe,
        work,
        reporter,
        dtype=setup.dtype,
    )
    clock.lap("train")
    labels = task.spec.labels
    record = record_of(
        "finetune",
        identity,
        reporter,
        clock.seconds,
        device,
        task=task.spec.name,
        labels=None if labels is None else list(labels),
        drawn=list(start.drawn),
        epochs=epochs,
        metrics=epochs[-1]["metrics"],
        finetuned=fingerprint(subject.model),
    )
    return Finetuned(start, record)
