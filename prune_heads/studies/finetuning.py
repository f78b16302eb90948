"""Fine-tune a pretrained model on a task, in its folder; one that was killed goes on: `prune-heads finetune`."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import transformers

from prune_heads.checkpoints import Checkpoint, fingerprint, load_checkpoint
from prune_heads.errors import PruneHeadsError, TaskError
from prune_heads.evaluation import Subject
from prune_heads.execution.claims import held
from prune_heads.files import digest, new_directory, read_json, write_json, writing_into
from prune_heads.objectives import serving
from prune_heads.options import Folder, NewFolder, Recipe, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, DoneBefore, Files, Study, check_output, write_files
from prune_heads.studies.distilling import Teacher
from prune_heads.studies.setup import identify, identify_model, limit_threads, load_model, load_split, resolve_device
from prune_heads.studies.training import KEPT_FOLDER, train
from prune_heads.surgery import removed_heads, zeroed_heads
from prune_heads.tasks.task import HELD_OUT, HELD_OUT_ENTRY, HeldOut, Split, Task, load_task

WEIGHTS_FILE = "model.safetensors"

Record = dict[str, Any]


# long: one study from its options to its record, a stage a paragraph
def finetune(setup: Setup, recipe: Recipe, work: Path, reporter: Reporter) -> tuple[Checkpoint, Record]:
    """Fine-tune on the task's training split, and measure on its validation splits after each epoch.

    The model may have lost heads: what was removed stays away, what was zeroed stays zero. A killed process goes on in
    `work`; see `train`. A `PruneHeadsError` if model and task cannot be loaded or do not fit, or the training does not
    stay finite.
    """
    study = Study("finetune", reporter)
    task = load_task(setup.task, data_dir=setup.data_dir, own=setup.own, skip_invalid=setup.skip_invalid)
    objective = serving(task.spec, setup.objective)[0]
    if not objective.trains:
        must = f"finetune must be given a kind of task that it can train, which {objective.name} is not yet"
        raise TaskError(f"{must}. Name a fine-tuned checkpoint")
    device = resolve_device(setup.device)
    if setup.dtype == "float16" and device.type == "cpu":
        raise PruneHeadsError("--dtype float16 needs a GPU to train on; take bfloat16 or float32 on a CPU")
    transformers.set_seed(recipe.seed)  # the trainer sets it again; this one is for the new head
    learned, trust = (task.spec.labels, objective.problem), setup.trust_remote_code
    start = load_checkpoint(setup.model, objective.head, task=setup.task, trust_remote_code=trust, learned=learned)
    reporter.note(*start.notes)
    if start.drawn:
        reporter.note(f"drawn at random, for the checkpoint lacks them: {', '.join(start.drawn)}")
    limit_threads(start)
    if recipe.hold_out is not None:
        task = _holding_out(start, task, recipe, reporter)
    sizes: dict[str, Any] = {"batch_size": setup.batch_size, "max_length": setup.max_length}
    subject = Subject.of(start, task, objective=setup.objective, device=device, **sizes)
    trained_on = load_split(setup, subject, task.spec.score_split, reporter)
    splits = [load_split(setup, subject, name, reporter) for name in task.spec.eval_splits]
    teacher = None if recipe.distill_from is None else _teacher(setup, recipe, subject, trained_on, reporter)
    taught = {} if teacher is None else {"teacher": identify_model(teacher.subject.classifier)["model"]}
    batches = replace(subject.batches(trained_on), batch_size=setup.batch_size)
    n_steps = recipe.epochs * len(batches)
    if (last := max(recipe.keep_steps, default=0)) > n_steps:
        raise PruneHeadsError(f"--keep-steps must be at most {n_steps}, the steps of this training; got {last}")
    alone = [replace(each, groups=()) for each in (trained_on, *splits)]  # a loss or a metric knows no groups
    pruned = removed_heads(subject.model) | zeroed_heads(subject.model)
    if pruned:
        reporter.note(f"heads that are pruned stay so: {pruned}")
    study.begin(setup, recipe, **identify(subject, alone), **taught)
    epochs = train(subject, batches, splits, recipe, work, reporter, dtype=setup.dtype, teacher=teacher)
    study.lap("train")
    about: dict[str, Any] = {"task": task.spec.name, "labels": task.spec.labels and list(task.spec.labels)}
    about |= {"drawn": list(start.drawn), **({"heads_pruned": pruned.descriptors()} if pruned else {})}
    about |= {"distilled": teacher.about()} if teacher is not None else {}
    about |= {"held_out": subject.task.held_out._asdict()} if subject.task.held_out is not None else {}
    found = {"epochs": epochs, "metrics": epochs[-1]["metrics"], "finetuned": fingerprint(subject.model)}
    return start, study.record(device, **about, **found)


def _holding_out(start: Checkpoint, task: Task, recipe: Recipe, reporter: Reporter) -> Task:
    """The task without the examples that are set aside, which the model's configuration names from now on."""
    if (held := HeldOut.of(start.model.config)) is not None:  # also of another task, which the model must not forget
        must = "--hold-out must not be given for a model that has examples set aside"
        raise PruneHeadsError(f"{must}, {held.n_examples} of {held.split} ({held.task}). They stay so without it")
    task = task.holding_out(recipe.hold_out or 0, recipe.seed)
    held = cast(HeldOut, task.held_out)
    setattr(start.model.config, HELD_OUT_ENTRY, held._asdict())
    reporter.note(f"{held.n_examples} examples of {held.split} are set aside: the split {HELD_OUT} of this model")
    if not start.drawn:
        reporter.note(f"{start.name} has its head: if it was trained on {task.spec.name}, it may have seen them")
    return task


def _teacher(setup: Setup, recipe: Recipe, subject: Subject, split: Split, reporter: Reporter) -> Teacher:
    """The model to learn from, on the same device."""
    asked = replace(setup, model=str(recipe.distill_from), dtype="float32")
    checkpoint = load_model(asked, reporter, subject.task.spec.kind, setup.objective)
    sizes: dict[str, Any] = {"batch_size": setup.batch_size, "max_length": setup.max_length}
    objective = setup.objective or subject.objective.name
    taught = Subject.of(checkpoint, subject.task, objective=objective, device=subject.device, **sizes)
    teacher = Teacher(taught, subject, split, recipe.temperature or 2.0)
    if subject.task.held_out not in (None, HeldOut.of(checkpoint.model.config)):
        reporter.note(f"{checkpoint.name}, which is learned from, may have seen the examples that are set aside")
    if not teacher.shows_hidden:
        reporter.note("hidden states of the two models differ in shape: the answers alone are distilled")
    return teacher


def finetune_into(
    setup: Setup, recipe: Recipe, reporter: Reporter, folder: NewFolder, files: Callable[[Record], Files]
) -> Record:
    """Fine-tune into a folder: model, tokenizer, record, and checkpoints to be kept (`epoch-1`, `step-50`).

    Work in progress stands beside it, in `OUTPUT.training`, and one process at a time does it. What is done already is
    not done again. `files` gives what is written beside the record. A `PruneHeadsError` if the study fails, or the
    folder or the work beside it belongs to something else.
    """
    output = folder.output.resolve()
    work = output.with_name(f"{output.name}.training")
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts for one training

    def check(identity: dict[str, Any]) -> None:
        check_output(folder, identity)
        if (output / WEIGHTS_FILE).exists() and not folder.overwrite:
            raise DoneBefore

    with ExitStack() as stack:

        def admit(identity: dict[str, Any]) -> None:
            check(identity)
            if not is_first:
                return
            stack.enter_context(held(output, reporter))
            check(identity)  # again, for who held it before may have done it
            if folder.overwrite:
                shutil.rmtree(work, ignore_errors=True)
            check_output(Folder(work), identity)  # of a fine-tuning that did not end
            with writing_into("the folder of the output", work.parent):
                write_json(work / RECORD_FILE, {"identity_hash": digest(identity)})

        try:
            reporter.admit = admit
            model, record = finetune(setup, recipe, work, reporter)
        except DoneBefore:
            reporter.note("this was done before and is not done again; --overwrite asks for it")
            return read_json(output / RECORD_FILE, "the record of an earlier run")
        if not is_first:
            return record
        with new_directory(output) as made:
            if (work / KEPT_FOLDER).is_dir():
                shutil.copytree(work / KEPT_FOLDER, made, dirs_exist_ok=True)
            model.write(made)
            write_files(made, {RECORD_FILE: record, **files(record)})
        shutil.rmtree(work, ignore_errors=True)
    return record
