"""Write a model for other software, and see that it computes there what it computes here, or refuse."""

import copy
import importlib.util
from collections.abc import Callable, Mapping, Sequence
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
from prune_heads.checkpoints import Checkpoint, loading, write_tokenizer
from prune_heads.checkpoints.onnx import ONNX_LIBRARIES, run_onnx, write_onnx
from prune_heads.checkpoints.pruned import dense_model
from prune_heads.checkpoints.tokenizer import random_texts
from prune_heads.errors import ExportError, NotFiniteError, first_line
from prune_heads.evaluation import n_positions
from prune_heads.files import new_directory, write_json
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.options import Choice, Export, NewFolder
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, Study, check_output
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


def _onnx(model: PreTrainedModel, named: HeadMask, batches: Batches, folder: Path) -> tuple[PreTrainedModel, Logits]:
    """One file of the model with its heads removed, run by onnxruntime; its configuration names the labels."""
    pruned = copy.deepcopy(model)
    remove_heads(pruned, named)
    write_onnx(pruned, batches[-1], folder)
    pruned.config.save_pretrained(folder)
    return pruned, run_onnx(folder, batches)


class Target(NamedTuple):
    """What a model can be written as."""

    # (model, heads to prune, batches, folder) -> the model as written, and what the file gives for each batch.
    write: Callable[[PreTrainedModel, HeadMask, Batches, Path], tuple[PreTrainedModel, Logits]]
    tolerance: float  # how far its logits may be from the model's own, of the largest logit or of 1
    libraries: tuple[str, ...] = ()  # that must be installed


TARGETS = {"dense": Target(_dense, 1e-5), "onnx": Target(_onnx, 1e-4, ONNX_LIBRARIES)}  # `--to` -> how to write it


def export_into(options: Export, reporter: Reporter, folder: NewFolder) -> dict[str, Any]:
    """Write a checkpoint for other software into a folder, with its tokenizer, its configuration and a record.

    The folder is there whole or not at all. An `ExportError` if the extra is missing, or what was written does not
    compute what the model computes; a `PruneHeadsError` if the model or the heads cannot be read, or the folder holds
    something else.
    """
    wanted = TARGETS[options.to].libraries
    if missing := [name for name in wanted if importlib.util.find_spec(name) is None]:
        lacking = f"not installed: {', '.join(missing)}. pip install 'prune-heads[{options.to}]'"
        raise ExportError(f"--to {options.to} needs {', '.join(wanted)}; {lacking}")
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
    study.begin(written, **setup.identify_model(classifier))
    with new_directory(folder.output) as made:
        exported = export(classifier, named, options.to, made)
        write_tokenizer(classifier.tokenizer, made)
        study.lap("export")
        files = {file.name: file.stat().st_size for file in sorted(made.iterdir())}
        heads = {"n_heads": gone.n_total, "heads_pruned": (gone | named).descriptors()}
        record = study.record(model.device, to=options.to, **heads, **exported, files=files)
        write_json(made / RECORD_FILE, record)
    return record


def export(classifier: Checkpoint, named: HeadMask, target: str, folder: Path) -> dict[str, Any]:
    """Write the model into the folder, without the heads named, and compare what it gives on random texts.

    The model stays as it is; heads may be gone from it already. The folder exists, and is worth nothing if this raises.

    Returns:
        libraries {name: version}, parameters (before, after), tolerance, largest_difference, and checks, one row a
        batch: n_examples, n_tokens, largest_logit, difference (the largest between two logits).

    Raises:
        ExportError: If the model cannot be written, or what was written gives other logits.
        PruneHeadsError: If the heads cannot be pruned, or gates do nothing.
    """
    model, batches, (write, tolerance, libraries) = classifier.model, random_batches(classifier), TARGETS[target]
    if model.device.type != "cpu":
        model = copy.deepcopy(model).cpu()
    if named:
        prove_gates(model, batches[-1])
    exact = model if model.dtype == torch.float32 else copy.deepcopy(model).float()  # compared without rounding
    with gated(exact, gates_of(exact, named)):
        expected = [_logits(exact, batch) for batch in batches]
    before = n_parameters(model)
    written, got = write(model, named, batches, folder)
    rows = []
    for batch, wanted, came in zip(batches, expected, got, strict=True):
        sizes = dict(zip(("n_examples", "n_tokens"), next(iter(batch.values())).shape, strict=True))
        largest = float(np.max([np.abs(each).max() for each in wanted]))
        difference = float(np.max([np.abs(a - b).max() for a, b in zip(came, wanted, strict=True)]))
        rows.append({**sizes, "largest_logit": largest, "difference": difference})
    worst = max(rows, key=lambda row: np.nan_to_num(row["difference"] / max(1.0, row["largest_logit"]), nan=np.inf))
    if not worst["difference"] <= tolerance * max(1.0, worst["largest_logit"]):
        must = f"what is written --to {target} must give the logits of the model within {tolerance:.0e}"
        said = "on {n_examples} texts of {n_tokens} tokens they are {difference:.2g} apart, of {largest_logit:.2g}"
        raise ExportError(f"{must}; {said.format(**worst)}. Nothing was kept; try a newer torch and transformers")
    parameters = {"before": before, "after": n_parameters(written)}
    about = {"libraries": {name: version(name) for name in libraries}, "parameters": parameters, "tolerance": tolerance}
    return {**about, "largest_difference": max(row["difference"] for row in rows), "checks": rows}


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
        must = "the logits of random texts must be finite to be compared"
        raise NotFiniteError(f"{must}; got NaN or infinity. Check the checkpoint's weights")
    return [each.numpy() for each in outputs]
