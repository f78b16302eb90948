"""The logits of a split under any mask: read from the store, or computed once and kept there.

Everything else (metrics, tables, curves, tests) is derived from these. A model may change between two questions, so
its weights are hashed anew for each, which takes a second for BERT-base; counters of changes do not see all of them.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prune_heads.batching import Batches
from prune_heads.checkpoints import fingerprint, how_it_writes
from prune_heads.evaluation import Logits, Subject, predict, references
from prune_heads.gating import gates_of
from prune_heads.heads import HeadMask
from prune_heads.padding import EACH_ALONE, unseen
from prune_heads.progress import Progress, Reporter, silent
from prune_heads.store import PredictionKey, PredictionStore
from prune_heads.surgery import removed_heads
from prune_heads.tasks.spec import headline
from prune_heads.tasks.task import Split

_NOT_COMPUTED = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
"""Entries of a configuration that do not change what the model computes in a given precision."""


class Predictions:
    """A classifier on a split, under masks; heads are masked by gates, so the model stays as it is."""

    def __init__(
        self,
        subject: Subject,
        split: Split,
        store: PredictionStore,
        reporter: Reporter,
        batches: Batches | None = None,
    ) -> None:
        """Of a split, which is tokenised when it is needed, unless its batches are given."""
        if batches is not None:
            self.tokens = self.batches = batches
        self.subject = subject
        self.split = split
        self.store = store
        self.reporter = reporter
        self._held: PredictionKey | None = None

    @property
    def gone(self) -> HeadMask:
        """Heads that the model has lost before; part of every mask."""
        return removed_heads(self.subject.model)

    @cached_property
    def tokens(self) -> Batches:
        """The split, tokenised for the model."""
        return self.subject.tokens(self.split)

    @cached_property
    def batches(self) -> Batches:
        """The same, padded as the model takes it."""
        batches = unseen(self.subject.model, self.tokens)
        if batches.batch_size < self.tokens.batch_size:
            self.reporter.note(
                f"{self.split.name}: examples run one at a time, for in a batch this model sees more than the example"
            )
        return batches

    @cached_property
    def references(self) -> NDArray[np.int64] | NDArray[np.float64]:
        """`(n_examples,)`: the true labels or scores, in file order."""
        return references(self.split)

    @property
    def metric(self) -> str:
        """The headline metric of the task."""
        return headline(self.subject.task.spec.metric)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """For the length of the block the model stays as it is, so that its weights are hashed once."""
        before, self._held = self._held, self.key(self.gone)
        try:
            yield
        finally:
            self._held = before

    def key(self, mask: HeadMask) -> PredictionKey:
        """The entry of a mask in the store, for the model as it is now."""
        if self._held is not None:
            return replace(self._held, mask=mask | self._held.mask)
        if not self.store.keeps:
            return PredictionKey("", "", mask | self.gone, "")  # by which nothing is looked up
        model, data, how = self.subject.model, self._data, self._given.translation
        if how is not None:
            said = replace(how, defaults=how_it_writes(model)).settings()
            data = hashlib.sha256(f"{data}\n{said}".encode()).hexdigest()
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        return PredictionKey(model_key(model), data, mask | self.gone, dtype)

    def stored(self, mask: HeadMask) -> Logits | None:
        """The logits under a mask, if the store has them; a damaged entry is noted and counts as none."""
        return self.store.get(self.key(mask))

    def keep(self, mask: HeadMask, logits: Logits) -> None:
        """Put the logits under a mask into the store.

        Raises:
            PruneHeadsError: If the store cannot be written.
        """
        about = {
            "model": self.subject.classifier.name,
            "task": self.subject.task.spec.name,
            "split": self.split.name,
        }
        self.store.put(self.key(mask), logits, about=about)

    def of(self, mask: HeadMask, progress: Progress = silent) -> Logits:
        """The logits under a mask, `(n_examples, n_labels)` in file order.

        Raises:
            NotFiniteError: If a logit is NaN or infinite.
            PruneHeadsError: If the store cannot be written.
        """
        with self.unchanged():
            there = self.stored(mask)
            if there is not None:
                progress(len(there))
                return there
            self.store.check_writable()
            gates = None if mask <= self.gone else gates_of(self.subject.model, mask)
            logits = predict(self.subject.model, self.batches, gates, progress=progress)
            self.keep(mask, logits)
            return logits

    def answers(self, mask: HeadMask) -> NDArray[np.int64] | NDArray[np.float32]:
        """What is predicted under a mask, as `Subject.predictions` gives it."""
        return self.subject.predictions(self.of(mask))

    def value(self, mask: HeadMask) -> float:
        """The headline metric under a mask."""
        return self.metric_of(self.of(mask))

    def metric_of(self, logits: Logits) -> float:
        """The headline metric of logits `(n_examples, n_labels)` of the split."""
        return self.subject.metrics(logits, self.split)[self.metric]

    @property
    def _given(self) -> Batches:
        """What the model is given, for which it need not run: padding is no part of a key."""
        given: Batches = vars(self).get("batches", self.tokens)
        return given

    @cached_property
    def _data(self) -> str:
        """Texts, labels and their order, and the tokens that the model was given of them."""
        digest = hashlib.sha256(f"{self.split.fingerprint}\n{EACH_ALONE}\n".encode())
        for name, array in self._given.arrays():
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8))
        return digest.hexdigest()


def model_key(model: nn.Module) -> str:
    """SHA-256 (hex) of all that decides what a transformers model computes: its weights and its configuration."""
    config: dict[str, Any] = model.config.to_dict()  # type: ignore[operator, union-attr]
    text = json.dumps(
        {k: v for k, v in config.items() if k not in _NOT_COMPUTED}, sort_keys=True, default=str
    )
    digest = hashlib.sha256(f"{fingerprint(model)}\n{text}".encode())
    kept = model.state_dict().keys()
    for name, buffer in model.named_buffers():  # frequencies of positions, which no file holds
        if name not in kept:
            digest.update(f"{name} {buffer.dtype} {tuple(buffer.shape)}\n".encode())
            digest.update(buffer.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
