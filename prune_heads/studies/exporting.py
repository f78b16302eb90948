"""Write a model for other software, and see that it computes there what it computes here, or refuse."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from prune_heads.budget import n_parameters
from prune_heads.checkpoints import Checkpoint, load_pruned, loading, write_tokenizer
from prune_heads.checkpoints.int8 import to_int8, write_int8
from prune_heads.checkpoints.onnx import ONNX_LIBRARIES, quantise_onnx, require, run_onnx, write_onnx
from prune_heads.checkpoints.pruned import dense_model
from prune_heads.checkpoints.tokenizer import random_texts
from prune_heads.errors import ExportError, NotFiniteError, first_line
from prune_heads.evaluation import n_positions
from prune_heads.files import file_digest, new_directory, read_json
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.options import Choice, Export, NewFolder
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, Files, Study, check_output, numbers_of, write_files
from prune_heads.studies import pruning, setup
from prune_heads.surgery import remove_heads, removed_heads, zero_heads
from prune_heads.verification import compared, prove_gates

Batches = Sequence[Mapping[str, Tensor]]
Logits = list[list[NDArray[np.float32]]]  # of each batch all outputs, `(examples, ...)`

_LONGEST = 64  # tokens of the longest batch that is compared, where the model takes so many


def _dense(model: PreTrainedModel, named: HeadMask, batches: Batches, folder: Path) -> tuple[PreTrainedModel, Logits]:
    """An ordinary checkpoint, read back by plain transformers."""
    wide = dense_model(model)
    zero_heads(wide, named)
    with loading.quiet_transformers():
        wide.save_pretrained(folder)
        try:
            again, info = type(model).from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        except Exception as error:  # the libraries raise whatever they stumble over
            said = f"it says {type(error).__name__}: {first_line(error)}"
            raise ExportError(f"plain transformers must load what was written; {said}") from error
    if faults := {name: sorted(keys) for name, keys in info.items() if keys}:
        raise ExportError(f"plain transformers must find every weight in what was written; it says {faults}")
    return wide, [_logits(again.eval(), batch) for batch in batches]


def _narrow(model: PreTrainedModel, named: HeadMask, batches: Batches, folder: Path) -> tuple[PreTrainedModel, Logits]:
    """A copy with its heads removed, of which nothing is written yet; its configuration names labels and class."""
    pruned = copy.deepcopy(model)
    pruned.config.architectures = [type(model).__name__]
    remove_heads(pruned, named)
    return pruned, [_logits(pruned, batch) for batch in batches]


def _onnx(model: PreTrainedModel, named: HeadMask, batches: Batches, folder: Path) -> tuple[PreTrainedModel, Logits]:
    """One file of the model with its heads removed, run by onnxruntime."""
    pruned, _ = _narrow(model, named, (), folder)
    write_onnx(pruned, batches[-1], folder)
    pruned.config.save_pretrained(folder)
    return pruned, run_onnx(folder, batches)


def _half(written: PreTrainedModel, batches: Batches, folder: Path) -> Logits:
    """The same folder, computed in the precision in which it was written."""
    with loading.quiet_transformers():
        again = type(written).from_pretrained(folder, dtype="auto").eval()
    return [_logits(again, batch) for batch in batches]


def _onnx_int8(written: PreTrainedModel, batches: Batches, folder: Path) -> Logits:
    """The same file in 8 bits."""
    quantise_onnx(folder)
    return run_onnx(folder, batches)


def _torch_int8(written: PreTrainedModel, batches: Batches, folder: Path) -> Logits:
    """The model in 8 bits, in place, and read back."""
    to_int8(written)
    write_int8(written, folder)
    again = load_pruned(folder)
    return [_logits(again, batch) for batch in batches]


class Target(NamedTuple):
    """What a model can be written as."""

    # (model, heads to prune, batches, folder) -> the model as written, and what the file gives for each batch.
    write: Callable[[PreTrainedModel, HeadMask, Batches, Path], tuple[PreTrainedModel, Logits]]
    tolerance: float  # how far its logits may be from the model's own, of the largest logit or of 1
    libraries: tuple[str, ...] = ()  # that must be installed
    # (the model as written, batches, folder) -> what it gives once it is rounded, which is reported and not held.
    rounded: Callable[[PreTrainedModel, Batches, Path], Logits] | None = None


TARGETS = {
    "dense": Target(_dense, 1e-5),
    "dense --dtype": Target(_dense, 1e-5, (), _half),
    "onnx": Target(_onnx, 1e-4, ONNX_LIBRARIES),
    "onnx --int8": Target(_onnx, 1e-4, ONNX_LIBRARIES, _onnx_int8),
    "torch-int8": Target(_narrow, 1e-5, (), _torch_int8),
}
"""`--to` -> how to write it."""


def export_into(
    options: Export, reporter: Reporter, folder: NewFolder, files: Callable[[dict[str, Any]], Files] = lambda record: {}
) -> dict[str, Any]:
    """Write a checkpoint for other software into a folder, with its tokenizer, its configuration and a record.

    The folder is there whole or not at all. `files` gives what is written beside the record. An `ExportError` if the
    extra is missing, or what was written does not compute what the model computes; a `PruneHeadsError` if the model or
    the heads cannot be read, or the folder holds something else.
    """
    is_half = options.dtype != "float32"
    target = options.to + " --int8" * options.int8 + " --dtype" * is_half
    require(f"--to {options.to}", TARGETS[target].libraries)
    reporter.admit = partial(check_output, folder)
    study = Study("export", reporter)
    classifier = setup.load_model(options, reporter)
    model = classifier.model
    if not classifier.reads_texts:
        must = f"export is for models of texts, not for image-classification ({classifier.name})"
        raise ExportError(f"{must}. prune-heads prune --mode zero writes a checkpoint that transformers loads as it is")
    gone = removed_heads(model)
    named = HeadMask(gone.n_heads)
    if options.heads:  # of layers that share their weights, heads go at every depth
        choice = Choice(heads=options.heads)
        together = pruning.going_together(model, choice, "zero" if options.to == "dense" else "remove", reporter)
        named = pruning.chosen(choice, gone, None, together) - gone
    if not gone and not named:
        reporter.note("the checkpoint has all its heads and none are named: what is written is the model as it was")
    written = {"model": classifier.name, "heads": named.descriptors(), "to": options.to, "dtype": options.dtype}
    study.begin(written | ({"int8": True} if options.int8 else {}), **setup.identify_model(classifier))
    full = setup.load_model(replace(options, dtype="float32"), Reporter()).model if is_half else None
    with new_directory(folder.output) as made:
        exported = export(classifier, named, target, made, full=full)
        write_tokenizer(classifier.tokenizer, made)
        study.lap("export")
        about = {"n_heads": gone.n_total, "heads_pruned": (gone | named).descriptors()}
        about |= {**exported, "made_from": _made_from(options.model)}
        there = sorted(made.iterdir())
        about |= {"files": {x.name: x.stat().st_size for x in there}, "sha256": {x.name: file_digest(x) for x in there}}
        record = study.record(model.device, to=options.to, **about)
        write_files(made, {RECORD_FILE: record, **files(record)})
    return record


def _made_from(model: str) -> dict[str, Any] | None:
    """For records: which run wrote the checkpoint and what it measured, by the record beside it; None if there is none.

    That of `run` and `prune` stands one folder up.
    """
    folder = loading.folder_at(model).resolve()
    for place in (folder, folder.parent) if folder.name == "checkpoint" else (folder,):
        if (place / RECORD_FILE).is_file() and model != loading.BUILT_IN:
            record = read_json(place / RECORD_FILE, "the record of the checkpoint")
            about = {name: record.get(name) for name in ("command", "identity_hash")}
            about["task"] = record.get("task", (record.get("made_from") or {}).get("task"))
            return {**about, "numbers": numbers_of(record)} if about["identity_hash"] else None
    return None


# long: the exact comparison, and that of what is rounded
def export(
    classifier: Checkpoint, named: HeadMask, target: str, folder: Path, *, full: PreTrainedModel | None = None
) -> dict[str, Any]:
    """Write the model into the folder, without the heads named, and compare what it gives on random texts.

    The model stays as it is; heads may be gone from it already. The folder exists, and is worth nothing if this raises.

    Args:
        classifier: The model, whose logits what is written must give; where the target rounds, before that.
        named: Heads to prune.
        target: Key of `TARGETS`.
        folder: For the files.
        full: The model before it was rounded to its precision, if it was.

    Returns:
        libraries {name: version}, parameters (before, after), tolerance, and what `_compared` says; where `target`
        rounds, also rounding: its form, and the same of what is written against the model in float32.

    Raises:
        ExportError: If the model cannot be written, gives other logits, or once it is rounded mostly other answers.
        PruneHeadsError: If the heads cannot be pruned, or gates do nothing.
    """
    model, batches = classifier.model, random_batches(classifier)
    many = getattr(model.config, "problem_type", None) == "multi_label_classification"
    write, tolerance, libraries, rounded = TARGETS[target]
    if model.device.type != "cpu":
        model = copy.deepcopy(model).cpu()
    if named:
        prove_gates(model, batches[-1])

    def under_gates(model: PreTrainedModel) -> Logits:
        exact = model if model.dtype == torch.float32 else copy.deepcopy(model).float()  # compared without rounding
        with gated(exact, gates_of(exact, named)):
            return [_logits(exact, batch) for batch in batches]

    expected, before = under_gates(model), n_parameters(model)
    written, got = write(model, named, batches, folder)
    parameters = {"before": before, "after": n_parameters(written)}
    found, worst = _compared(batches, expected, got, many)
    if not worst["difference"] <= tolerance * max(1.0, worst["largest_logit"]):
        must = f"what is written --to {target} must give the logits of the model within {tolerance:.0e}"
        said = "on {n_examples} texts of {n_tokens} tokens they are {difference:.2g} apart, of {largest_logit:.2g}"
        raise ExportError(f"{must}; {said.format(**worst)}. Nothing was kept; try a newer torch and transformers")
    about = {"libraries": {name: version(name) for name in libraries}, "parameters": parameters, "tolerance": tolerance}
    if rounded is None:
        return {**about, **found}
    form = "int8" if target.endswith("int8") else str(model.dtype).removeprefix("torch.")
    try:
        got = rounded(written, batches, folder)
    except (AttributeError, RuntimeError, TypeError) as error:  # as of a model that looks at its weights by itself
        must = f"a {model.config.model_type!r} model must run in {form}"
        raise ExportError(f"{must}; it says {first_line(error)}. Take another form") from error
    coarse, worst = _compared(batches, expected if full is None else under_gates(full), got, many)
    is_far = worst["difference"] > max(1.0, worst["largest_logit"])
    is_other = 2 * coarse["n_changed"] > coarse["n_answers"] or (is_far and not coarse["n_answers"])  # a score has none
    if is_other or not np.isfinite(worst["difference"]):
        must = f"what is written --to {target} must answer mostly as the model does in float32"
        said = f"{coarse['n_changed']} of {coarse['n_answers']} answers on random texts change"
        said += f", and logits are {worst['difference']:.2g} apart, of {worst['largest_logit']:.2g}"
        raise ExportError(f"{must}; in {form} {said}. Nothing was kept; take another form")
    return {**about, **found, "rounding": {"form": form, **coarse}}


def _compared(batches: Batches, expected: Logits, got: Logits, many: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """How far two models agree, and the row of the batch on which they are most apart.

    largest_difference (between two logits), n_answers, n_changed (answers that differ), and checks, one row a batch:
    n_examples, n_tokens, largest_logit, difference, n_answers, n_changed.
    """
    rows = []
    for batch, wanted, came in zip(batches, expected, got, strict=True):
        sizes = dict(zip(("n_examples", "n_tokens"), next(iter(batch.values())).shape, strict=True))
        largest = float(np.max([np.abs(each).max() for each in wanted]))
        difference = float(np.max([np.abs(a - b).max() for a, b in zip(came, wanted, strict=True)]))
        chosen = [_answers(each, batch, many) for each in (wanted, came)]
        answers = {"n_answers": len(chosen[0]), "n_changed": int((chosen[0] != chosen[1]).sum())}
        rows.append({**sizes, "largest_logit": largest, "difference": difference, **answers})
    worst = max(rows, key=lambda row: np.nan_to_num(row["difference"] / max(1.0, row["largest_logit"]), nan=np.inf))
    sums = {name: sum(row[name] for row in rows) for name in ("n_answers", "n_changed")}
    return {"largest_difference": max(row["difference"] for row in rows), **sums, "checks": rows}, worst


def _answers(outputs: list[NDArray[np.float32]], batch: Mapping[str, Tensor], many: bool) -> NDArray[np.int64]:
    """Of each text, or token that is no padding, the largest logit; of many labels whether each is there; no score."""
    mask, found = batch.get("attention_mask", torch.empty(0)).numpy() > 0, [np.empty(0, dtype=np.int64)]
    for x in outputs:
        if many or x.shape[-1] > 1:
            rows = x[mask] if x.ndim == 3 and x.shape[:2] == mask.shape else x
            found.append((rows > 0 if many else rows.argmax(-1)).ravel().astype(np.int64))
    return np.concatenate(found)


def random_batches(classifier: Checkpoint) -> list[dict[str, Tensor]]:
    """Texts of random tokens in batches of several sizes and lengths, a pure function of tokenizer and model.

    Each is padded to its length, `(n_examples, n_tokens)`, of texts of falling length; a decoder gets the first half.
    """
    tokenizer = classifier.tokenizer
    shortest = tokenizer.num_special_tokens_to_add() + 1
    longest = max(shortest, min(n_positions(classifier.model), tokenizer.model_max_length, _LONGEST))
    middle, generator, batches = (shortest + longest) // 2, np.random.default_rng(0), []
    for n_examples, n_tokens in ((1, shortest), (1, middle), (2, longest), (8, longest), (3, middle)):
        lengths = [n_tokens] * n_examples
        if tokenizer.pad_token:
            lengths = [max(shortest, n_tokens * (n_examples - i) // n_examples) for i in range(n_examples)]
        batch = random_texts(tokenizer, lengths, generator)
        if classifier.objective == "seq2seq":
            batch["decoder_input_ids"] = batch["input_ids"][:, : max(1, n_tokens // 2)]
        batches.append(batch)
    return batches


@torch.no_grad()
def _logits(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
    outputs = compared(model(**batch))
    if not all(each.isfinite().all() for each in outputs):
        raise NotFiniteError("logits of random texts must be finite; got NaN or infinity. Check the model's weights")
    return [each.float().numpy() for each in outputs]
