"""transformers' Trainer on our batches: what it is told, what is kept on the way, and where a killed one goes on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from prune_heads.checkpoints import write_pruned, write_tokenizer
from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.errors import PruneHeadsError, RunError
from prune_heads.evaluation import Subject, predict
from prune_heads.files import new_directory
from prune_heads.objectives.batches import Batches
from prune_heads.options import Recipe
from prune_heads.progress import Progress, Reporter
from prune_heads.studies.saves import KEPT_FOLDER, SAVE, last_whole, remove_but, seal
from prune_heads.tasks.task import Split

_EPOCH = "prune_heads_epoch"
"""Under which the trainer's own state keeps what was measured, so that it survives a kill with the rest."""


def check_steps(recipe: Recipe, batches: Batches) -> None:
    """Refuse steps to keep that are never reached.

    Raises:
        PruneHeadsError: Naming the last step.
    """
    n_steps = recipe.epochs * -(-batches.n_examples // batches.batch_size)
    if recipe.keep_steps and max(recipe.keep_steps) > n_steps:
        raise PruneHeadsError(
            f"--keep-steps must be at most {n_steps}, the steps of this training; got {max(recipe.keep_steps)}"
        )


def train(
    subject: Subject,
    batches: Batches,
    splits: Sequence[Split],
    recipe: Recipe,
    work: Path,
    reporter: Reporter,
    *,
    dtype: str = "float32",
) -> list[dict[str, Any]]:
    """Fine-tune the subject's model in place.

    Args:
        subject: The model, in float32, on its task.
        batches: The training examples.
        splits: What is measured after each epoch.
        recipe: How.
        work: A folder for what a killed process goes on from; what is to be kept lands in its `kept`.
        reporter: Told about progress, and of a start from the middle.
        dtype: Precision of the products (autocast); weights stay in float32.

    Returns:
        One entry an epoch: `epoch`, `step`, the mean training `loss` and the `metrics` by split.

    Raises:
        PruneHeadsError: If a loss or a logit is not finite, or the batch does not divide among the devices.
    """
    watch = _Watch(subject, splits, recipe, work / KEPT_FOLDER)
    order = _Order(batches, recipe.seed, grouped=recipe.group_by_length)
    with quiet_transformers(), reporter.stage("training", recipe.epochs * batches.n_examples) as progress:
        watch.progress = progress
        trainer = _Trainer(
            order,
            model=subject.model,
            args=_arguments(recipe, batches, work, subject.device, dtype),
            train_dataset=range(batches.n_examples),
            data_collator=lambda places: _collate(batches, places),
            callbacks=[watch],
        )
        trainer.remove_callback(transformers.PrinterCallback)  # it prints dictionaries
        start = last_whole(work, reporter)
        remove_but(start, work)
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    subject.model.eval()
    return _epochs(trainer.state.log_history)


def _arguments(
    recipe: Recipe, batches: Batches, work: Path, device: torch.device, dtype: str
) -> transformers.TrainingArguments:
    def arguments(batch_size: int) -> transformers.TrainingArguments:
        return transformers.TrainingArguments(
            output_dir=str(work),
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=recipe.warmup,  # below 1 it is a share
            weight_decay=recipe.weight_decay,
            max_grad_norm=1.0,
            seed=recipe.seed,
            bf16=dtype == "bfloat16",
            fp16=dtype == "float16",
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type != "cpu",
            remove_unused_columns=False,  # the collator turns them into what the model takes
            save_strategy="epoch",
            logging_strategy="epoch",
            report_to="none",
            disable_tqdm=True,
        )

    n_devices = arguments(1).train_batch_size * arguments(1).world_size
    if batches.batch_size % n_devices:
        raise PruneHeadsError(
            f"--batch-size must divide among the {n_devices} devices that train; got {batches.batch_size}"
        )
    return arguments(batches.batch_size // n_devices)


def _epochs(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was measured after each epoch, with its mean loss: that of its parts, by their steps."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    epochs, before = [], 0
    for about in (entry[_EPOCH] for entry in history if _EPOCH in entry):
        total, last = 0.0, before
        for step, loss in logged:
            if last < step <= about["step"]:
                total, last = total + loss * (step - last), step
        epochs.append({**about, "loss": round(total / (about["step"] - before), 4)})
        before = about["step"]
    return epochs


def _collate(batches: Batches, places: Sequence[int]) -> dict[str, Tensor]:
    batch = batches.batch(np.asarray(places))
    return {**batch.inputs, "labels": batch.targets}


class _Order(Sampler[int]):
    """In which order an epoch sees the examples: by its number alone.

    The trainer's own sampler by length draws from the generator of the process, so an epoch that is taken up in its
    middle would see some examples twice and others never.
    """

    def __init__(self, batches: Batches, seed: int, *, grouped: bool) -> None:
        self.lengths, self.batch_size = batches.n_tokens.tolist(), batches.batch_size
        self.seed, self.grouped, self.epoch = seed, grouped, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        words = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0] >> np.uint64(1)))
        if not self.grouped:
            return iter(torch.randperm(len(self), generator=generator).tolist())
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


class _Trainer(transformers.Trainer):
    """With an order of our own, and saves that are whole or not there."""

    def __init__(self, order: _Order, **rest: Any) -> None:
        super().__init__(**rest)
        self.order = order
        self._saving_into = str(self.args.output_dir)

    def _get_output_dir(self, trial: Any = None) -> str:
        return self._saving_into

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The trainer's own save, made aside by all processes of a training, sealed and renamed by the first."""
        work = Path(str(self.args.output_dir))
        name = f"{SAVE}{self.state.global_step}"
        aside = work / f".{name}.partial"
        self._saving_into = str(aside)
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                seal(aside / name)
                (aside / name).rename(work / name)
                aside.rmdir()
                remove_but(work / name, work)
        except (OSError, SafetensorError, RuntimeError) as error:  # torch's own where the disk is full
            raise RunError(
                f"saves must be written whole; {work} does not take one ({error}). Make room, or name another --output"
            ) from error
        self.accelerator.wait_for_everyone()

    def _get_train_sampler(self, train_dataset: Any = None) -> _Order:
        return self.order


class _Watch(transformers.TrainerCallback):
    """Tells progress, measures after each epoch, keeps checkpoints, and has the trainer save now and then."""

    progress: Progress

    def __init__(self, subject: Subject, splits: Sequence[Split], recipe: Recipe, kept: Path) -> None:
        self.subject, self.recipe, self.kept = subject, recipe, kept
        self.splits = [(split, subject.batches(split)) for split in splits]
        self.save_seconds = 60 * recipe.save_minutes
        self._saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """What an earlier process did counts as done."""
        self.progress(state.global_step * args.train_batch_size * args.world_size)
        if state.global_step == 0:
            self._keep_step(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """One batch is done."""
        self.progress(args.train_batch_size * args.world_size)
        self._keep_step(state)
        ends_epoch = state.global_step % (state.max_steps // state.num_train_epochs) == 0
        if not ends_epoch and time.monotonic() - self._saved >= self.save_seconds:  # else once it is measured
            control.should_save = control.should_log = True  # the mean loss up to here belongs to the save

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The next save is due so much later."""
        self._saved = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Before the save of the epoch, so that a process that goes on from there knows what was measured."""
        epoch = round(state.epoch)
        metrics = {split.name: self._measure(batches) for split, batches in self.splits}
        state.log_history.append({_EPOCH: {"epoch": epoch, "step": state.global_step, "metrics": metrics}})
        if self.recipe.keep_epochs and state.is_world_process_zero:
            self._keep(f"epoch-{epoch}")

    def _measure(self, batches: Batches) -> dict[str, float]:
        return self.subject.objective.metrics(predict(self.subject.model, batches), batches.references)

    def _keep_step(self, state: Any) -> None:
        if state.global_step in self.recipe.keep_steps and state.is_world_process_zero:
            self._keep(f"step-{state.global_step}")

    def _keep(self, name: str) -> None:
        with new_directory(self.kept / name) as folder:
            write_pruned(self.subject.classifier.model, folder)
            write_tokenizer(self.subject.classifier.tokenizer, folder)
