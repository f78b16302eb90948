"""transformers' Trainer on our batches: what it is told, what is kept, the sealed saves a killed one resumes from."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from prune_heads.checkpoints import loading
from prune_heads.errors import PruneHeadsError, RunError
from prune_heads.evaluation import Subject, predict
from prune_heads.files import file_digest, new_directory, write_json
from prune_heads.objectives.batches import Batches
from prune_heads.options import Recipe
from prune_heads.progress import Progress, Reporter
from prune_heads.studies.distilling import Teacher
from prune_heads.studies.head_dropout import HeadDropout
from prune_heads.surgery import staying_zero, zeroed_heads
from prune_heads.tasks.task import Split

KEPT_FOLDER = "kept"
_SAVE = "checkpoint-"  # names of saves begin so; their steps follow
_SEAL_FILE = "seal.json"
_EPOCH = "prune_heads_epoch"  # under which the trainer's state keeps what was measured, so that it survives a kill


# long: what the trainer is told, an argument a line
def train(
    subject: Subject,
    batches: Batches,
    splits: Sequence[Split],
    recipe: Recipe,
    work: Path,
    reporter: Reporter,
    *,
    dtype: str = "float32",
    teacher: Teacher | None = None,
) -> list[dict[str, Any]]:
    """Fine-tune the subject's model in place on the batches, and measure the splits after each epoch.

    A killed process goes on from what is in `work`; what is to be kept lands in its `kept`. `dtype` is the precision of
    the products (autocast); weights are and stay in float32. Heads whose weights are zero stay so. With a teacher the
    loss is the one that `Teacher.loss` makes.

    Returns:
        One entry an epoch: `epoch`, `step`, the mean training `loss` and the `metrics` by split.

    Raises:
        PruneHeadsError: If a loss or a logit is not finite, or the batch does not divide among the devices.
    """
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=recipe.warmup,  # below 1 it is a share
        weight_decay=recipe.weight_decay,
        max_grad_norm=1.0,
        seed=recipe.seed,
        bf16=dtype == "bfloat16",
        fp16=dtype == "float16",
        use_cpu=subject.device.type == "cpu",
        dataloader_pin_memory=subject.device.type != "cpu",
        remove_unused_columns=False,  # the collator turns them into what the model takes
        save_strategy="epoch",
        logging_strategy="epoch",
        report_to="none",
        disable_tqdm=True,
    )
    n_devices = arguments.train_batch_size * arguments.world_size
    if batches.batch_size % n_devices:
        must = f"--batch-size must divide among the {n_devices} devices that train"
        raise PruneHeadsError(f"{must}; got {batches.batch_size}")
    arguments.per_device_train_batch_size = batches.batch_size // n_devices

    def collate(places: Sequence[int]) -> dict[str, Tensor]:
        batch = batches.batch(np.asarray(places))
        return {**batch.inputs, "labels": batch.targets}

    zeroed, n_seen = zeroed_heads(subject.model), recipe.epochs * batches.n_examples
    with ExitStack() as meanwhile:
        meanwhile.enter_context(loading.quiet_transformers())
        meanwhile.enter_context(staying_zero(subject.model, zeroed))
        progress = meanwhile.enter_context(reporter.stage("training", n_seen))
        trainer = _Trainer(
            model=subject.model,
            args=arguments,
            train_dataset=range(batches.n_examples),
            data_collator=collate,
            callbacks=[_Watch(subject, splits, recipe, work / KEPT_FOLDER, progress)],
        )
        trainer.teacher = teacher
        trainer.dropout = HeadDropout(subject.model, recipe, zeroed) if recipe.head_dropout else None
        trainer.order = _Order(batches, recipe.seed, grouped=recipe.group_by_length)
        trainer.remove_callback(transformers.PrinterCallback)  # it prints dictionaries
        start = last_whole(work, reporter)
        _remove_but(start, work)
        trainer.train(resume_from_checkpoint=None if start is None else str(start))
    subject.model.eval()
    return _epochs(trainer.state.log_history)


def _epochs(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was measured after each epoch, with its mean loss: that of its parts, by their steps."""
    logged = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    epochs, before = [], 0
    for about in (entry[_EPOCH] for entry in history if _EPOCH in entry):
        steps, losses = zip(*(part for part in logged if before < part[0] <= about["step"]), strict=True)
        loss = np.average(losses, weights=np.diff([before, *steps]))
        epochs.append({**about, "loss": round(float(loss), 4)})
        before = about["step"]
    return epochs


class _Order(Sampler[int]):
    """In which order an epoch sees the examples: by its number alone.

    The trainer's own draws from the process's generator, so an epoch taken up midway would repeat and miss examples.
    """

    def __init__(self, batches: Batches, seed: int, *, grouped: bool) -> None:
        self.lengths, self.batch_size = batches.n_tokens.tolist(), batches.batch_size
        self.seed, self.grouped, self.epoch = seed, grouped, 0

    def set_epoch(self, epoch: int) -> None:
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
    """With an order of our own, head dropout, a teacher, and saves that are whole or not there."""

    order: _Order
    dropout: HeadDropout | None
    teacher: Teacher | None

    def _get_train_sampler(self, train_dataset: Any = None) -> _Order:
        return self.order

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Of a step: the model's own, with some heads left out, and what the teacher adds."""
        given = inputs if self.teacher is None else {**inputs, "output_hidden_states": self.teacher.shows_hidden}
        with self.dropout.step(self.state) if self.dropout is not None else nullcontext():
            loss, outputs = super().compute_loss(model, given, True, num_items_in_batch)
        loss = loss if self.teacher is None else self.teacher.loss(loss, outputs, inputs)
        return (loss, outputs) if return_outputs else loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """The trainer's own save, made aside by all processes of a training, sealed and renamed by the first."""
        work, name = Path(str(self.args.output_dir)), f"{_SAVE}{self.state.global_step}"
        aside = work / f".{name}.partial"
        self.args.output_dir = str(aside)
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                made = aside / name
                write_json(made / _SEAL_FILE, {"sha256": {file.name: file_digest(file) for file in made.iterdir()}})
                made.rename(work / name)
                aside.rmdir()
                _remove_but(work / name, work)
        except (OSError, SafetensorError, RuntimeError) as error:  # torch's own where the disk is full
            must = f"saves must be written whole; {work} does not take one ({error})"
            raise RunError(f"{must}. Make room, or name another --output") from error
        finally:
            self.args.output_dir = str(work)
        self.accelerator.wait_for_everyone()


class _Watch(transformers.TrainerCallback):
    """Tells progress, measures after each epoch, keeps checkpoints, and has the trainer save now and then."""

    def __init__(self, subject: Subject, splits: Sequence[Split], recipe: Recipe, kept: Path, tell: Progress) -> None:
        self.subject, self.recipe, self.kept, self.progress = subject, recipe, kept, tell
        self.splits = {split.name: subject.batches(split) for split in splits}
        self._saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """What an earlier process did counts as done."""
        self.progress(state.global_step * args.train_batch_size * args.world_size)
        if state.global_step == 0:
            self._keep(state, "step", 0, self.recipe.keep_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.progress(args.train_batch_size * args.world_size)
        self._keep(state, "step", state.global_step, self.recipe.keep_steps)
        ends_epoch = state.global_step % (state.max_steps // state.num_train_epochs) == 0
        is_due = time.monotonic() - self._saved >= 60 * self.recipe.save_minutes
        if is_due and not ends_epoch:  # else once it is measured
            control.should_save = control.should_log = True  # the mean loss up to here belongs to the save

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._saved = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Before the save of the epoch, so that a process that goes on from there knows what was measured."""
        epoch, measure, model = round(state.epoch), self.subject.objective.metrics, self.subject.model
        metrics = {name: measure(predict(model, split), split.references) for name, split in self.splits.items()}
        state.log_history.append({_EPOCH: {"epoch": epoch, "step": state.global_step, "metrics": metrics}})
        self._keep(state, "epoch", epoch, [epoch] if self.recipe.keep_epochs else ())

    def _keep(self, state: Any, kind: str, number: int, kept: Sequence[int]) -> None:
        if number in kept and state.is_world_process_zero:
            with new_directory(self.kept / f"{kind}-{number}") as folder:
                self.subject.classifier.write(folder)


def last_whole(work: Path, reporter: Reporter) -> Path | None:
    """The save with most steps that is whole, file by file as its seal says; a later one that is damaged is named."""
    steps = {save: save.name.removeprefix(_SAVE) for save in work.glob(f"{_SAVE}*")}
    saves = {int(step): save for save, step in steps.items() if step.isdecimal()}
    for step, save in sorted(saves.items(), reverse=True):
        try:
            sealed = json.loads((save / _SEAL_FILE).read_bytes())["sha256"]
            broken = (name for name, sha in sealed.items() if file_digest(save / name) != sha)
            problem = next((f"{name} is damaged" for name in broken), None)
        except OSError as error:
            problem = f"{Path(error.filename or save).name} cannot be read ({error.strerror})"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            problem = f"{_SEAL_FILE} is damaged"
        if problem is None:
            reporter.note(f"went on from step {step}, where an earlier process was stopped")
            return save
        reporter.note(f"what was saved at step {step} is not used: {problem}")
    return None


def _remove_but(save: Path | None, work: Path) -> None:
    """Remove all saves but one, and what a killed process has left half-written."""
    for each in (*work.glob(f"{_SAVE}*"), *work.glob(".*"), *(work / KEPT_FOLDER).glob(".*")):
        if each != save:
            shutil.rmtree(each, ignore_errors=True)
