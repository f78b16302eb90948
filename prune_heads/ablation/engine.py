"""What is kept under many masks, batch after batch, into the store: exact, resumable, nothing computed twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.ablation.forward import VariantForward, with_compiled_layers
from prune_heads.ablation.mixed import corrected
from prune_heads.ablation.plan import plan
from prune_heads.anatomy import attention_blocks, uncompiled
from prune_heads.descriptors import Head
from prune_heads.errors import StoreError
from prune_heads.evaluation import check_finite
from prune_heads.gating import Instead, evaluating, gated
from prune_heads.heads import HeadMask
from prune_heads.objectives.base import Kept
from prune_heads.objectives.batches import Batch
from prune_heads.objectives.replacing import stand_in
from prune_heads.predictions import Predictions
from prune_heads.store import Journal, unfinished

DEFAULT_MEMORY = {"cpu": 96, "cuda": 8192, "mps": 1024}
"""MiB of activations a pass. On a CPU larger passes leave the cache and are slower."""

KINDS: Mapping[str, Callable[[Head, Head], bool]] = {
    "without-one": lambda head, other: other == head,
    "only-one": lambda head, other: other != head and other[0] == head[0],
}
"""`--kind` -> whether another head is masked to ask about a head: itself (paper, 3.2), or its layer's others (3.3)."""


def ablations(kind: str, gone: HeadMask) -> dict[Head, HeadMask]:
    """The mask that asks about each head that is there, in order.

    Args:
        kind: Key of `KINDS`.
        gone: Heads that the model has lost before; part of every mask.
    """
    there, is_masked = list(~gone), KINDS[kind]
    masked = {head: frozenset(other for other in there if is_masked(head, other)) for head in there}
    return {head: HeadMask(gone.n_heads, others) | gone for head, others in masked.items()}


def predict_masks(
    predictions: Predictions, masks: Sequence[HeadMask], *, memory: int | None = None, compiled: bool = False
) -> dict[HeadMask, Kept]:
    """What is kept under each mask, from the store where it is; the rest is computed together and kept.

    A killed call goes on with the batch that was in flight, and ends in the same bytes. A `MaskNotAppliedError` if
    gates do not change the logits; a `NotFiniteError` if a logit is NaN or infinite; a `PruneHeadsError` if the store
    cannot be written.

    Args:
        predictions: Of the split.
        masks: In the original numbering.
        memory: MiB of a pass's activations, None for the device's default; bounds the masks at once, not the batch.
        compiled: Compile the layers first, for tens of seconds; it pays on some machines only.
    """
    gone = predictions.gone
    wanted = list(dict.fromkeys(mask | gone for mask in masks))
    if predictions.lower is not None:
        return _in_both(predictions, predictions.lower(), wanted, memory=memory, compiled=compiled)
    with predictions.unchanged():
        found = {mask: kept for mask in wanted if (kept := predictions.stored(mask)) is not None}
        missing = [mask for mask in wanted if mask not in found]
        if missing:
            predictions.store.objects.check_writable()
            with evaluating(predictions.subject.model):
                found |= _computed(predictions, wanted, missing, memory, compiled)
        _close_done(predictions, found)
    return found


def _in_both(predictions: Predictions, lower: Predictions, wanted: list[HeadMask], **how: Any) -> dict[HeadMask, Kept]:
    """In bfloat16, corrected by float32; only what is of bfloat16 is kept, for the rest follows from it."""
    masks = list(dict.fromkeys([predictions.gone, *wanted]))
    found, memory = predict_masks(lower, masks, **how), how["memory"]
    with evaluating(predictions.subject.model):
        run = ManyMasks(predictions, masks, memory or DEFAULT_MEMORY[predictions.subject.device.type])
        kept = dict(zip(masks, corrected(predictions, np.stack([found[m] for m in masks]), run.pairs), strict=True))
    return {mask: kept[mask] for mask in wanted}


def _computed(
    predictions: Predictions, wanted: list[HeadMask], masks: list[HeadMask], memory: int | None, compiled: bool
) -> dict[HeadMask, Kept]:
    batches, memory = predictions.batches, memory or DEFAULT_MEMORY[predictions.subject.device.type]
    predictions.subject.prove_gates(batches)
    journal, masks = _journal(predictions, wanted, masks, memory, compiled)
    run, rows = ManyMasks(predictions, masks, memory, compiled=compiled), []
    with predictions.reporter.stage("masks", batches.n_examples * len(masks)) as progress:
        for step, batch in enumerate(batches):
            if (kept := journal.read(step)) is None:
                kept = run.logits(batch)
                journal.write(step, kept)
            rows.append((batch.index, kept))
            progress(len(batch.index) * len(masks))
    order = np.argsort(np.concatenate([index for index, _ in rows]))
    found = dict(zip(masks, np.concatenate([kept for _, kept in rows], axis=1)[:, order], strict=True))
    for mask, kept in found.items():
        predictions.keep(mask, kept)
    journal.close()  # by its name: another process, which closed it before the last step was written, left no manifest
    return found


def _journal(
    predictions: Predictions, wanted: list[HeadMask], missing: list[HeadMask], memory: int, compiled: bool
) -> tuple[Journal, list[HeadMask]]:
    """The journal of this wish, and its masks: those that were missing when it was begun.

    Of a process that was killed while it put entries into the store fewer are missing now, and all batches are there.
    """
    about = {"task": predictions.subject.task.spec.name, "split": predictions.split.name}
    how = {"batch_size": predictions.batches.batch_size, "memory": memory, "compiled": compiled}
    about |= {"instead": predictions.instead} if predictions.instead else {}
    wish = {**predictions.key(wanted[0]).to_json(), **about, **how, "wanted": [str(mask) for mask in wanted]}
    for begun in unfinished(predictions.store.objects):
        if begun.job is not None and {k: v for k, v in begun.job.items() if k != "masks"} == wish:
            masks = [HeadMask.parse(text, wanted[0].n_heads) for text in begun.job["masks"]]
            if set(missing) <= set(masks):
                missing = masks
    return Journal(predictions.store.objects, {**wish, "masks": [str(mask) for mask in missing]}), missing


def _close_done(predictions: Predictions, found: Mapping[HeadMask, Kept]) -> None:
    """Remove journals whose masks are all stored: their process was killed before it could."""
    same = {name: value for name, value in predictions.key(predictions.gone).to_json().items() if name != "mask"}
    stored = {str(mask) for mask in found}
    with suppress(StoreError):  # in a store that may only be read they do no harm
        for begun in unfinished(predictions.store.objects):
            job = begun.job or {}
            is_of_these = job.items() >= same.items() and job.get("instead", "") == predictions.instead
            if is_of_these and stored >= set(job["masks"]):
                Journal(predictions.store.objects, job).close()


class ManyMasks:
    """A model that runs many masks on a batch: together where that is proved to be exact, else one at a time."""

    def __init__(
        self, predictions: Predictions, masks: Sequence[HeadMask], memory: int, *, compiled: bool = False
    ) -> None:
        """For a split; `memory` is in MiB."""
        model, batches = predictions.subject.model, predictions.batches
        self.model, self.masks, self.batches, self.objective = model, masks, batches, batches.objective
        self.device, self.reporter = next(model.parameters()).device, predictions.reporter
        kept = [mask.keep() for mask in masks]
        device = "cpu" if self.device.type == "meta" else self.device  # of an offloaded model
        self.gates = [
            torch.tensor(np.array([each[i][list(block.original_heads)] for each in kept]), device=device).float()
            for i, block in enumerate(attention_blocks(model))
        ]
        self.groups: dict[int | None, list[int]] = {}  # first gated block, None where there is none -> its masks
        gone = predictions.gone
        for i, mask in enumerate(masks):
            self.groups.setdefault(min((block for block, _ in mask - gone), default=None), []).append(i)
        writes = self.objective.generates  # token by token, so that layers run many times
        # Where an example is seen in what another gets, so is a row of one mask in that of another.
        self.mixes = batches.side == "none"
        self.together: VariantForward | None = None
        if not writes and not self.mixes:
            by_length = np.argsort(-batches.n_tokens, kind="stable")
            few = np.unique(np.linspace(0, len(by_length) - 1, 4).astype(int))  # four, the longest to the shortest
            inputs, instead = batches.batch(by_length[few]).to(self.device).inputs, self._instead(by_length[few])
            if proposal := plan(model, inputs, self.objective.reads, instead):
                self.together = VariantForward(proposal, model, self.objective.reads)
        if self.together is None and not writes:
            predictions.reporter.note("the masks run one at a time: this model's layers could not be shared exactly")
        if compiled and self.together is not None:
            self.together = with_compiled_layers(self.together)
        self.bytes = memory * 2**20
        self.bytes_per_token = _bytes_per_token(model, writes)

    @uncompiled()
    @torch.no_grad()  # under inference_mode compiled layers cannot keep their weights packed
    def logits(self, batch: Batch) -> NDArray[np.float32]:
        """What is kept of a batch under each mask, `(n_masks, batch, width)`; `NotFiniteError` if it is not finite."""
        batch = batch.to(self.device)
        if self.objective.generates:
            rows = self._written(batch, self.objective)
        elif self.together is not None:
            rows = self._together(self.together, batch)
        else:
            rows, instead = [], self._instead(batch.index)
            for gates in zip(*self.gates, strict=True):
                with gated(self.model, gates, instead):
                    rows.append(self.objective.kept(self.model, batch))
        kept: Kept = torch.stack(rows).float().cpu().numpy()
        check_finite(np.moveaxis(kept, 0, 1), batch.index, "logits")
        return kept

    @uncompiled()
    @torch.no_grad()
    def pairs(self, wanted: NDArray[np.bool_], found: Kept) -> None:
        """Fill in what is kept of the pairs that are `wanted`, `(n_masks, n_examples)`; of a pair it is `(width,)`.

        An example must be one row, and answered in one pass. A `NotFiniteError` if a number is NaN or infinite.
        """
        batches, forward = self.batches, self.together
        order = np.argsort(-batches.n_tokens, kind="stable")
        order = order[wanted[:, order].any(axis=0)]
        with self.reporter.stage("float32", int(wanted.sum())) as progress:
            while len(order):
                n, n_tokens = batches.batch_size, batches.batch_size * int(batches.n_tokens[order[0]])
                n *= min(4, self._masks_a_pass(n_tokens)) if n_tokens else 1  # of few pairs a batch, passes are short
                index, order = order[:n], order[n:]
                inputs = batches.batch(index).to(self.device).inputs
                recording = forward and forward.record(inputs, self._instead(index))
                for first, group in self.groups.items():
                    masks, rows = wanted[group][:, index].nonzero()
                    for i in range(0, len(masks), n):
                        of, taken = np.asarray(group)[masks[i : i + n]], rows[i : i + n]
                        batch, gates = batches.batch(index[taken]).to(self.device), [gate[of] for gate in self.gates]
                        if forward and recording:
                            at, lowest = torch.from_numpy(taken).to(self.device), len(gates) if first is None else first
                            kept = self.objective.read(forward.of_rows(recording, gates, lowest, at), batch)
                        else:
                            with gated(self.model, gates, self._instead(index[taken])):
                                kept = self.objective.kept(self.model, batch)
                        found[of, index[taken]] = values = kept.float().cpu().numpy()
                        check_finite(values, index[taken], "logits")
                        progress(len(of))

    def _instead(self, index: NDArray[np.int64]) -> Instead:
        return stand_in(self.model, self.batches, index)

    def _written(self, batch: Batch, objective: Any) -> list[Tensor]:
        """Texts are written under many masks at once: a row of the batch is one (mask, example), with its own gates."""
        blocks, n_examples = attention_blocks(self.model), len(batch.index)
        n_tokens = batch.inputs["input_ids"].numel() + n_examples * objective.n_max
        size, instead = self._masks_a_pass(objective.beams * n_tokens), self._instead(batch.index)
        found: list[Tensor] = []
        for start in range(0, len(self.masks), size):
            # A decoder has a row a hypothesis, those of an example together.
            n_rows = [n_examples * (objective.beams if block.stack == "decoder" else 1) for block in blocks]
            some = [gate[start : start + size] for gate in self.gates]
            gates = [gate.repeat_interleave(n, dim=0) for gate, n in zip(some, n_rows, strict=True)]
            with gated(self.model, gates, instead):
                found += objective.kept(self.model, batch.repeated(len(some[0]))).split(n_examples)
        return found

    def _together(self, forward: VariantForward, batch: Batch) -> list[Tensor]:
        recording = forward.record(batch.inputs, self._instead(batch.index))
        contexts = [recording.calls[block.output.module].given for block in forward.blocks]
        n_tokens = max(context.shape[:-1].numel() for context in contexts)
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


def _bytes_per_token(model: nn.Module, writes: bool) -> int:
    """At most: the inputs and outputs of linear maps, logits, softmax, and keys and values of a writing decoder."""
    blocks, size = attention_blocks(model), next(model.parameters()).element_size()
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    n_choices = 0 if head is None else len(head.weight)
    linears = sum(sum(m.weight.shape) * m.weight.element_size() for m in blocks[0].linears())
    cached = sum(2 * block.n_heads * block.head_dim for block in blocks if block.stack == "decoder") * size
    return max(1, linears + 8 * n_choices) + (cached if writes else 0)
