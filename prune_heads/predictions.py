"""The logits of a split under any mask: read from the store, or computed once and kept there.

Everything else (metrics, tables, curves, tests) is derived from these.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prune_heads.batching import Batches
from prune_heads.checkpoints import fingerprint
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
        self.gone = removed_heads(subject.model)
        """Heads that the model has lost before; part of every mask."""

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

    def key(self, mask: HeadMask) -> PredictionKey:
        """The entry of a mask in the store."""
        return PredictionKey(self._model, self._data, mask | self.gone, self._dtype)

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

    @cached_property
    def _model(self) -> str:
        return model_key(self.subject.model)

    @cached_property
    def _data(self) -> str:
        """Texts, labels and their order, the tokens that the model was given of them, and how it translates."""
        digest = hashlib.sha256(self.split.fingerprint.encode())
        for name, array in _arrays(self.batches):
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8))
        if self.batches.translation is not None:
            digest.update(self.batches.translation.settings().encode())
        return digest.hexdigest()

    @property
    def _dtype(self) -> str:
        return str(next(self.subject.model.parameters()).dtype).removeprefix("torch.")


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
