"""Write a model for other software, and see that it computes there what it computes here, or refuse."""

import copy
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from prune_heads.checkpoints import Checkpoint, write_tokenizer
from prune_heads.checkpoints.dense import dense_model
from prune_heads.checkpoints.onnx import ONNX_LIBRARIES, joined, run_onnx, write_onnx
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.checkpoints.random_texts import random_texts
from prune_heads.costs import n_parameters
from prune_heads.errors import ExportError, NotFiniteError, first_line
from prune_heads.files import new_directory, write_json
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.options import Choice, Export, NewFolder
from prune_heads.padding import n_positions
from prune_heads.probe import compared, prove_gates
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, Study, admission
from prune_heads.studies.pruning import chosen, going_together
from prune_heads.studies.setup import identify_model, load_model
from prune_heads.surgery import remove_heads, removed_heads, zero_heads

Batch = Mapping[str, Tensor]
Logits = NDArray[np.float32]
"""`(examples, ...)`; of a model with several outputs see `joined`."""

_LONGEST = 64
"""Tokens of the longest batch that is compared, where the model takes so many."""


@dataclass(frozen=True)
class Target:
    """What a model can be written as."""

    write: Callable[[PreTrainedModel, HeadMask, Sequence[Batch], Path], tuple[PreTrainedModel, list[Logits]]]
    """(model, heads to prune, batches, folder) -> the model as written, and what the file gives for each batch."""
    tolerance: float
    """How far its logits may be from the model's own, of the largest logit or of 1."""
    libraries: tuple[str, ...] = ()
    """What must be installed besides."""


def require(target: str) -> None:
    """Refuse, before any work, where what a target needs is not installed.

    Raises:
        ExportError: Naming what to install.
    """
    wanted = TARGETS[target].libraries
    if missing := [name for name in wanted if importlib.util.find_spec(name) is None]:
        raise ExportError(
            f"--to {target} needs {', '.join(wanted)}; not installed: {', '.join(missing)}. "
            f"pip install 'prune-heads[{target}]'"
        )


def export(classifier: Checkpoint, named: HeadMask, target: str, folder: Path) -> dict[str, Any]:
    """Write the model into the folder, without the heads named, and compare what it gives on random texts.

    Args:
        classifier: With or without removed heads; it stays as it is.
        named: Heads to prune besides those that are gone.
        target: Key of `TARGETS`.
        folder: Exists; is worth nothing if this raises.

    Returns:
        libraries {name: version}, parameters (before, after), tolerance, largest_difference, and checks, one row a
        batch: n_examples, n_tokens, largest_logit, difference (the largest between two logits).

    Raises:
        ExportError: If the model cannot be written, or what was written gives other logits.
        PruneHeadsError: If the heads cannot be pruned, or gates do nothing.
    """
    model, chosen = classifier.model, TARGETS[target]
    if model.device.type != "cpu":
        model = copy.deepcopy(model).cpu()
    batches = random_batches(classifier)
    if named:
        prove_gates(model, batches[-1])
    expected, before = _expected(model, named, batches), n_parameters(model)
    written, got = chosen.write(model, named, batches, folder)
    rows = [_row(*each) for each in zip(batches, expected, got, strict=True)]
    worst = max(rows, key=lambda row: row["difference"] / max(1.0, row["largest_logit"]))
    if not worst["difference"] <= chosen.tolerance * max(1.0, worst["largest_logit"]):
        raise ExportError(
            f"what is written --to {target} must give the logits of the model within {chosen.tolerance:.0e}; on "
            f"{worst['n_examples']} texts of {worst['n_tokens']} tokens they are {worst['difference']:.2g} apart, the "
            f"largest being {worst['largest_logit']:.2g}. Nothing was kept; try a newer torch and transformers"
        )
    return {
        "libraries": {name: version(name) for name in chosen.libraries},
        "parameters": {"before": before, "after": n_parameters(written)},
        "tolerance": chosen.tolerance,
        "largest_difference": max(row["difference"] for row in rows),
        "checks": rows,
    }


def export_into(options: Export, reporter: Reporter, folder: NewFolder) -> dict[str, Any]:
    """Write a checkpoint for other software into a folder, with its tokenizer, its configuration and a record.

    Args:
        options: The model, what it is written as, and which heads go besides those that are gone.
        reporter: Told about notes.
        folder: There whole or not at all.

    Raises:
        ExportError: If the extra is missing, or what was written does not compute what the model computes.
        PruneHeadsError: If the model or the heads cannot be read, or the folder holds something else.
    """
    require(options.to)
    reporter.admit = admission(folder)
    study = Study("export", reporter)
    classifier = load_model(options, reporter)
    if not classifier.reads_texts:
        raise ExportError(
            f"export is for models of texts, not for image-classification ({classifier.name}). prune-heads prune "
            "--mode zero writes a checkpoint that transformers loads as it is"
        )
    gone = removed_heads(classifier.model)
    named = _named(classifier.model, options, gone, reporter)
    if not gone and not named:
        reporter.note("the checkpoint has all its heads and none are named: what is written is the model as it was")
    study.begin(
        configuration={
            "model": classifier.name,
            "heads": named.descriptors(),
            "to": options.to,
            "dtype": options.dtype,
        },
        **identify_model(classifier),
    )
    device = classifier.model.device
    study.lap("load")
    with new_directory(folder.output) as made:
        exported = export(classifier, named, options.to, made)
        write_tokenizer(classifier.tokenizer, made)
        study.lap("export")
        record = study.record(
            device,
            to=options.to,
            n_heads=gone.n_total,
            heads_pruned=(gone | named).descriptors(),
            **exported,
            files={file.name: file.stat().st_size for file in sorted(made.iterdir())},
        )
        write_json(made / RECORD_FILE, record)
    return record


def _named(model: PreTrainedModel, options: Export, gone: HeadMask, reporter: Reporter) -> HeadMask:
    """The heads that go besides those that are gone; of layers that share their weights at every depth."""
    if not options.heads:
        return HeadMask(gone.n_heads)
    choice = Choice(heads=options.heads)
    together = going_together(model, choice, "zero" if options.to == "dense" else "remove", reporter)
    return chosen(choice, gone, None, together) - gone


def random_batches(classifier: Checkpoint) -> list[dict[str, Tensor]]:
    """Texts of random tokens in batches of several sizes and lengths, a pure function of tokenizer and model.

    Each batch is padded to its length, `(n_examples, n_tokens)`, from texts of falling lengths. The decoder of a
    sequence-to-sequence model gets the first half of each.
    """
    tokenizer = classifier.tokenizer
    shortest = tokenizer.num_special_tokens_to_add() + 1
    longest = max(shortest, min(n_positions(classifier.model), tokenizer.model_max_length, _LONGEST))
    middle = (shortest + longest) // 2
    generator = np.random.default_rng(0)
    batches = []
    for n_examples, n_tokens in ((1, shortest), (1, middle), (2, longest), (8, longest), (3, middle)):
        lengths = [
            max(shortest, n_tokens * (n_examples - i) // n_examples) if tokenizer.pad_token else n_tokens
            for i in range(n_examples)
        ]
        batch = random_texts(tokenizer, lengths, generator)
        if classifier.objective == "seq2seq":
            batch["decoder_input_ids"] = batch["input_ids"][:, : max(1, n_tokens // 2)]
        batches.append(batch)
    return batches


def _dense(
    model: PreTrainedModel, named: HeadMask, batches: Sequence[Batch], folder: Path
) -> tuple[PreTrainedModel, list[Logits]]:
    """An ordinary checkpoint, read back by plain transformers."""
    wide = dense_model(model)
    zero_heads(wide, named)
    with quiet_transformers():
        wide.save_pretrained(folder)
        try:
            again, info = type(model).from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
        except Exception as error:  # the libraries raise whatever they stumble over
            raise ExportError(
                f"plain transformers must load what was written; it says {type(error).__name__}: {first_line(error)}"
            ) from error
    if faults := {name: sorted(keys) for name, keys in info.items() if keys}:
        raise ExportError(f"plain transformers must find every weight in what was written; it says {faults}")
    return wide, [_logits(again.eval(), batch) for batch in batches]


def _onnx(
    model: PreTrainedModel, named: HeadMask, batches: Sequence[Batch], folder: Path
) -> tuple[PreTrainedModel, list[Logits]]:
    """One file of the model with its heads removed, run by onnxruntime; its configuration names the labels."""
    pruned = copy.deepcopy(model)
    remove_heads(pruned, named)
    write_onnx(pruned, batches[-1], folder)
    pruned.config.save_pretrained(folder)
    return pruned, run_onnx(folder, batches)


TARGETS: Mapping[str, Target] = {"dense": Target(_dense, 1e-5), "onnx": Target(_onnx, 1e-4, ONNX_LIBRARIES)}
"""`--to` -> how to write it."""


def _expected(model: PreTrainedModel, named: HeadMask, batches: Sequence[Batch]) -> list[Logits]:
    """The logits under gates, in float32: weights of less precision are compared as they are, without rounding."""
    exact = model if model.dtype == torch.float32 else copy.deepcopy(model).float()
    with gated(exact, gates_of(exact, named)):
        return [_logits(exact, batch) for batch in batches]


@torch.no_grad()
def _logits(model: PreTrainedModel, batch: Batch) -> Logits:
    outputs = compared(model(**batch))
    if not all(each.isfinite().all() for each in outputs):
        raise NotFiniteError(
            "the logits of random texts must be finite to be compared; got NaN or infinity. Check the checkpoint's "
            "weights"
        )
    return joined([each.numpy() for each in outputs])


def _row(batch: Batch, expected: Logits, got: Logits) -> dict[str, Any]:
    n_examples, n_tokens = next(iter(batch.values())).shape
    return {
        "n_examples": n_examples,
        "n_tokens": n_tokens,
        "largest_logit": float(np.abs(expected).max()),
        "difference": float(np.abs(got - expected).max()),
    }
