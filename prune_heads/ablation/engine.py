"""What is kept under many masks, batch after batch, into the store: exact, resumable, nothing computed twice."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.ablation.compiled import with_compiled_layers
from prune_heads.ablation.forward import VariantForward
from prune_heads.ablation.plan import plan
from prune_heads.ablation.written import written
from prune_heads.anatomy import attention_blocks
from prune_heads.anatomy.context import uncompiled
from prune_heads.errors import StoreError
from prune_heads.evaluation import check_finite
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.modes import evaluating
from prune_heads.objectives.base import Kept, stacked
from prune_heads.objectives.batches import Batch
from prune_heads.predictions import Predictions
from prune_heads.store import Journal, unfinished

MEBIBYTE = 2**20
DEFAULT_MEMORY = {"cpu": 96, "cuda": 8192, "mps": 1024}
"""MiB of activations a pass. On a CPU larger passes leave the cache and are slower."""

_CHECKED = 4
"""Examples on which the plan is proved."""


def predict_masks(
    predictions: Predictions, masks: Sequence[HeadMask], *, memory: int | None = None, compiled: bool = False
) -> dict[HeadMask, Kept]:
    """What is kept under each mask, from the store where it is; the rest is computed together and kept.

    A killed call goes on with the batch that was in flight, and ends in the same bytes.

    Args:
        predictions: Of the split.
        masks: In the original numbering.
        memory: MiB that the activations of a pass may take; None for the device's default. It bounds how many
            masks run at once, not the examples of a batch.
        compiled: Compile the layers first, for tens of seconds; it pays on some machines only.

    Raises:
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit is NaN or infinite.
        PruneHeadsError: If the store cannot be written.
    """
    with predictions.unchanged():
        wanted = list(dict.fromkeys(mask | predictions.gone for mask in masks))
        found = {mask: kept for mask in wanted if (kept := predictions.stored(mask)) is not None}
        if len(found) < len(wanted):
            missing = [mask for mask in wanted if mask not in found]
            with evaluating(predictions.subject.model):
                found |= _compute(predictions, wanted, missing, memory, compiled)
        _close_done(predictions, found)
    return found


def _compute(
    predictions: Predictions, wanted: list[HeadMask], missing: list[HeadMask], memory: int | None, compiled: bool
) -> dict[HeadMask, Kept]:
    batches, reporter = predictions.batches, predictions.reporter
    predictions.store.objects.check_writable()
    predictions.subject.prove_gates(batches)
    memory = memory or DEFAULT_MEMORY[predictions.subject.device.type]
    journal, masks = _journal(predictions, wanted, missing, memory, compiled)
    run = ManyMasks(predictions, masks, memory, compiled=compiled)
    index, rows = [], []
    with reporter.stage("masks", batches.n_examples * len(masks)) as progress:
        for step, batch in enumerate(batches):
            kept = journal.read(step)
            if kept is None:
                kept = run.logits(batch)
                journal.write(step, kept)
            index.append(batch.index)
            rows.append(kept)
            progress(len(batch.index) * len(masks))
    every = np.concatenate(rows, axis=1)[:, np.argsort(np.concatenate(index))]
    for mask, one in zip(masks, every, strict=True):
        predictions.keep(mask, one)
    journal.close()
    return dict(zip(masks, every, strict=True))


def _journal(
    predictions: Predictions, wanted: list[HeadMask], missing: list[HeadMask], memory: int, compiled: bool
) -> tuple[Journal, list[HeadMask]]:
    """The journal of this wish, and the masks that it is about: those that were missing when it was begun.

    A process that was killed while it put entries into the store has left fewer missing than it began with; its
    batches are all there, and its masks are found by what was wished for.
    """
    key = predictions.key(wanted[0])
    wish = {
        "task": predictions.subject.task.spec.name,
        "split": predictions.split.name,
        "model": key.model,
        "data": key.data,
        "dtype": key.dtype,
        "batch_size": predictions.batches.batch_size,
        "memory": memory,
        "compiled": compiled,
        "n_heads": list(wanted[0].n_heads),
        "wanted": [str(mask) for mask in wanted],
    }
    for begun in unfinished(predictions.store.objects):
        if begun.job is not None and {k: v for k, v in begun.job.items() if k != "masks"} == wish:
            masks = [HeadMask.parse(text, wanted[0].n_heads) for text in begun.job["masks"]]
            if set(missing) <= set(masks):
                missing = masks
    return Journal.open(predictions.store.objects, {**wish, "masks": [str(mask) for mask in missing]}), missing


def _close_done(predictions: Predictions, found: Mapping[HeadMask, Kept]) -> None:
    """Remove journals whose masks are all stored: their process was killed before it could."""
    key = predictions.key(predictions.gone)
    same = {"model": key.model, "data": key.data, "dtype": key.dtype}
    stored = {str(mask) for mask in found}
    with suppress(StoreError):  # in a store that may only be read they do no harm
        for begun in unfinished(predictions.store.objects):
            job = begun.job or {}
            if job.items() >= same.items() and stored >= set(job["masks"]):
                Journal.open(predictions.store.objects, job).close()


class ManyMasks:
    """A model that runs many masks on a batch: together where that is proved to be exact, else one at a time."""

    def __init__(
        self, predictions: Predictions, masks: Sequence[HeadMask], memory: int, *, compiled: bool = False
    ) -> None:
        model = predictions.subject.model
        self.model = model
        self.device = next(model.parameters()).device
        self.masks = masks
        self.gates = [torch.stack(gates) for gates in zip(*(gates_of(model, m) for m in masks), strict=True)]
        self.objective = predictions.batches.objective
        writes = self.objective.generates  # token by token, so that layers run many times
        # Where an example is seen in what another gets, so is a row of one mask in that of another.
        self.mixes = predictions.batches.side == "none"
        proposal = None if writes or self.mixes else plan(model, _examples(predictions).inputs, self.objective.reads)
        if proposal is None and not writes:
            predictions.reporter.note("the masks run one at a time: this model's layers could not be shared exactly")
        self.together = None if proposal is None else proposal.forward(model, self.objective.reads)
        if compiled and self.together is not None:
            self.together = with_compiled_layers(self.together)
        self.groups = _by_first_gated(self.gates)
        self.bytes = memory * MEBIBYTE
        self.bytes_per_token = _bytes_per_token(model) + (_cached_bytes(model) if writes else 0)

    @uncompiled()
    @torch.no_grad()  # under inference_mode compiled layers cannot keep their weights packed
    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """What is kept of a batch under each mask, `(n_masks, batch, width)`.

        Raises:
            NotFiniteError: If a number is NaN or infinite.
        """
        batch = batch.to(self.device)
        if self.objective.generates:
            rows = list(written(self.model, batch, self.gates, self.objective, self._masks_a_pass))
        elif self.together is None:
            rows = [self._alone(i, batch) for i in range(len(self.masks))]
        else:
            rows = self._together(self.together, batch)
        kept = stacked(rows)
        check_finite(np.moveaxis(kept, 0, 1), batch.index, "logits")
        return kept

    def _alone(self, i: int, batch: Batch) -> Tensor:
        with gated(self.model, [gate[i] for gate in self.gates]):
            return self.objective.kept(self.model, batch)

    def _together(self, forward: VariantForward, batch: Batch) -> list[Tensor]:
        recording = forward.record(batch.inputs)
        n_tokens = max(context.shape[:-1].numel() for context in recording.contexts)
        found: dict[int, Tensor] = {}
        for first, group in self._passes(n_tokens):
            if first is None:
                found |= dict.fromkeys(group, self.objective.read(recording.outputs, batch))
                continue
            outputs = forward.outputs(recording, [gate[group] for gate in self.gates], first)
            found |= {mask: self.objective.read(each, batch) for mask, each in zip(group, outputs, strict=True)}
        return [found[i] for i in range(len(self.masks))]

    def _masks_a_pass(self, n_tokens: int) -> int:
        return 1 if self.mixes else max(1, self.bytes // (self.bytes_per_token * n_tokens))

    def _passes(self, n_tokens: int) -> Iterator[tuple[int | None, list[int]]]:
        """The masks (by number) that run in one pass, with their first gated block; None: no block is gated."""
        size = self._masks_a_pass(n_tokens)
        for first, group in self.groups.items():
            for part in np.array_split(group, -(-len(group) // size)):
                yield first, part.tolist()


def _by_first_gated(gates: Sequence[Tensor]) -> dict[int | None, list[int]]:
    """The masks, by number, of each first gated block; None: no block is gated."""
    closed = torch.stack([(gate == 0).any(dim=1) for gate in gates], dim=1).tolist()
    groups: dict[int | None, list[int]] = {}
    for i, row in enumerate(closed):
        groups.setdefault(next((block for block, is_gated in enumerate(row) if is_gated), None), []).append(i)
    return groups


def _examples(predictions: Predictions) -> Batch:
    """A few examples from the longest to the shortest."""
    by_length = np.argsort(-predictions.batches.n_tokens, kind="stable")
    few = np.unique(np.linspace(0, len(by_length) - 1, _CHECKED).astype(int))
    device = next(predictions.subject.model.parameters()).device
    return predictions.batches.batch(by_length[few]).to(device)


def _bytes_per_token(model: nn.Module) -> int:
    """What a layer's activations take: the inputs and outputs of its linear maps, an upper bound.

    Of a language model, the logits of its vocabulary and their softmax in float32 besides.
    """
    linears = attention_blocks(model)[0].linears()
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    n_choices = 0 if head is None else len(head.weight)
    return max(1, sum(sum(m.weight.shape) * m.weight.element_size() for m in linears) + 8 * n_choices)


def _cached_bytes(model: nn.Module) -> int:
    """The keys and values of a token that a decoder keeps while it writes."""
    blocks = [block for block in attention_blocks(model) if block.stack == "decoder"]
    return sum(2 * block.n_heads * block.head_dim for block in blocks) * next(model.parameters()).element_size()
