"""The logits of a split under any mask: read from the store, or computed once and kept there.

Everything else (metrics, tables, curves, tests) is derived from these. A model may change between two questions, so
its weights are hashed anew for each, which takes a second for BERT-base; counters of changes do not see all of them.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prune_heads.batching import Batches
from prune_heads.checkpoints import fingerprint, how_it_writes
from prune_heads.evaluation import Logits, Subject, predict, references
from prune_heads.gating import gates_of
from prune_heads.heads import HeadMask
from prune_heads.progress import Progress, Reporter, silent
from prune_heads.store import PredictionKey, PredictionStore
from prune_heads.surgery import removed_heads
from prune_heads.tasks.spec import headline
from prune_heads.tasks.task import Split

_NOT_COMPUTED = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures")
"""Entries of a configuration that do not change what the model computes in a given precision."""


class Predictions:
    """A classifier on a split, under masks; heads are masked by gates, so the model stays as it is."""

    def __init__(self, subject: Subject, split: Split, store: PredictionStore, reporter: Reporter) -> None:
        self.subject = subject
        self.split = split
        self.store = store
        self.reporter = reporter

    @property
    def gone(self) -> HeadMask:
        """Heads that the model has lost before; part of every mask."""
        return removed_heads(self.subject.model)

    @cached_property
    def batches(self) -> Batches:
        """The split, tokenised for the model."""
        return self.subject.batches(self.split)

    @cached_property
    def references(self) -> NDArray[np.int64] | NDArray[np.float64]:
        """`(n_examples,)`: the true labels or scores, in file order."""
        return references(self.split)

    @property
    def metric(self) -> str:
        """The headline metric of the task."""
        return headline(self.subject.task.spec.metric)

    def now(self) -> PredictionKey:
        """The entry of no mask, of the model as it is now. Take it once for many masks: it hashes all weights."""
        model = self.subject.model
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        data, how = self._data, self.batches.translation
        if how is not None:
            said = replace(how, defaults=how_it_writes(model)).settings()
            data = hashlib.sha256(f"{data}\n{said}".encode()).hexdigest()
        return PredictionKey(model_key(model), data, self.gone, dtype)

    def key(self, mask: HeadMask, now: PredictionKey | None = None) -> PredictionKey:
        """The entry of a mask in the store; `now` is what `now()` gave, where the model is still the same."""
        return replace(now or self.now(), mask=mask | self.gone)

    def stored(self, mask: HeadMask, now: PredictionKey | None = None) -> Logits | None:
        """The logits under a mask, if the store has them; a damaged entry is noted and counts as none."""
        return self.store.get(self.key(mask, now))

    def keep(self, mask: HeadMask, logits: Logits, now: PredictionKey | None = None) -> None:
        """Put the logits under a mask into the store.

        Raises:
            PruneHeadsError: If the store cannot be written.
        """
        about = {
            "model": self.subject.classifier.name,
            "task": self.subject.task.spec.name,
            "split": self.split.name,
        }
        self.store.put(self.key(mask, now), logits, about=about)

    def of(self, mask: HeadMask, progress: Progress = silent, now: PredictionKey | None = None) -> Logits:
        """The logits under a mask, `(n_examples, n_labels)` in file order.

        Raises:
            NotFiniteError: If a logit is NaN or infinite.
            PruneHeadsError: If the store cannot be written.
        """
        now = now or self.now()
        there = self.stored(mask, now)
        if there is not None:
            progress(len(there))
            return there
        gates = None if mask <= self.gone else gates_of(self.subject.model, mask)
        logits = predict(self.subject.model, self.batches, gates, progress=progress)
        self.keep(mask, logits, now)
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

    @cached_property
    def _data(self) -> str:
        """Texts, labels and their order, and the tokens that the model was given of them at which positions."""
        digest = hashlib.sha256(f"{self.split.fingerprint}\npadding {self.batches.side}\n".encode())
        for name, array in _arrays(self.batches):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8))
        return digest.hexdigest()


def model_key(model: nn.Module) -> str:
    """SHA-256 (hex) of all that decides what a transformers model computes: its weights and its configuration."""
    config: dict[str, Any] = model.config.to_dict()  # type: ignore[operator, union-attr]
    text = json.dumps(
        {k: v for k, v in config.items() if k not in _NOT_COMPUTED}, sort_keys=True, default=str
    )
    return hashlib.sha256(f"{fingerprint(model)}\n{text}".encode()).hexdigest()


def _arrays(batches: Batches) -> Iterator[tuple[str, NDArray[Any]]]:
    yield from sorted(batches.fields.items())
    yield "offsets", batches.offsets
    yield "labels", batches.labels
    if batches.targets is not None:
        yield "targets", batches.targets.tokens
        yield "target_offsets", batches.targets.offsets
