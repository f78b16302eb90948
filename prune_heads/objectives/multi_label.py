"""Any number of labels an example, of a sequence classifier whose outputs are labels of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from prune_heads.checkpoints import Checkpoint
from prune_heads.errors import CheckpointError
from prune_heads.modes import logits_of
from prune_heads.objectives.base import Asked, Examples, Kept
from prune_heads.objectives.batches import Batch, Batches, Fixed
from prune_heads.objectives.labels import match_labels
from prune_heads.objectives.single_label import TextClassifier, text_batches
from prune_heads.objectives.values import by_name, index
from prune_heads.statistics import Metric
from prune_heads.visible import brief

PROBLEM = "multi_label_classification"
"""`problem_type` of the checkpoints."""


def _micro_f1(predictions: NDArray[Any], references: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """F1 of all decisions together, one an example and label; 0 where no label is predicted or there."""
    both = weights @ (predictions * references).sum(axis=1)
    return _f1(both, weights @ (predictions.sum(axis=1) + references.sum(axis=1)))


def _macro_f1(predictions: NDArray[Any], references: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """The mean over labels of F1, which is 0 for a label that is neither predicted nor there."""
    return _f1(weights @ (predictions * references), weights @ (predictions + references)).mean(axis=-1)


def _f1(both: NDArray[Any], either: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(2 * both / np.where(either > 0, either, 1))


def _no_label(references: NDArray[Any]) -> str | None:
    if references.any():
        return None
    return f"F1 needs labels, and none of the {len(references)} examples has one"


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "micro_f1": Metric("micro_f1", _micro_f1, undefined=_no_label),
        "macro_f1": Metric("macro_f1", _macro_f1, undefined=_no_label),
    }
)
"""Of predictions and references that are 1 where an example has a label, else 0, `(m, n_labels)`.

The micro average counts decisions, of which all examples give as many. The macro average is of few examples for rare
labels, so its intervals are wide: it stands second.
"""


@dataclass(frozen=True)
class MultiLabel(TextClassifier):
    """Binary cross-entropy, summed over the labels of the model; kept are the logits, in its order.

    A label that the data do not name is one that no example has.
    """

    model_index: tuple[int, ...] = ()
    """The logit of each label of the task."""
    n_labels: int = 0
    """Logits."""

    name = "multi-label"
    problem = PROBLEM
    classes = "many"
    separator = "|"
    chooses = True
    own_metrics = METRICS
    below_chance = (
        "always giving the same labels",
        "check the labels (--label-order) and that the checkpoint is for this task",
    )

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> list[int]:
        """The indices of the labels, ascending; none is fine. See `Objective`."""
        if not isinstance(value, list):
            raise ValueError(
                "the labels must be a list of names, [] for none (in CSV text, names separated by "
                f"{cls.separator}), got {brief(value)}"
            )
        found = sorted(index(each, codes) for each in value)
        if len(set(found)) < len(found):
            raise ValueError(f"each label must be named once, got {brief(value)}")
        return found

    @classmethod
    def named(cls, value: Any, names: Any) -> Any:
        """Names, or a 0 or 1 for each of them; see `Objective`."""
        if isinstance(value, list) and value and not any(isinstance(each, str) for each in value):
            if len(value) != len(names) or any(each not in (0, 1) for each in value):
                raise ValueError(
                    f"the labels must be names, or a 0 or 1 for each of {', '.join(names)}, got {brief(value)}"
                )
            return [name for name, there in zip(names, value, strict=True) if there]
        return by_name(value, names)

    @classmethod
    def is_named_by(cls, checkpoint: Checkpoint) -> bool:
        """By `problem_type`; see `Objective`."""
        return cls.fits(checkpoint) and getattr(checkpoint.model.config, "problem_type", None) == PROBLEM

    @classmethod
    def of_labels(cls, labels: Tensor, n_outputs: int) -> Self | None:
        """A 0 or 1 for each output; see `Objective`."""
        fits = labels.shape[1:] == (n_outputs,) and bool(((labels == 0) | (labels == 1)).all())
        return cls("micro_f1", model_index=tuple(range(n_outputs)), n_labels=n_outputs) if fits else None

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: Asked, **options: Any) -> Self:
        """Match the labels by name, of which the model may have more than the data; see `Objective`.

        Raises:
            CheckpointError: If the head was trained for another kind of answer.
            LabelError: If the model lacks a label.
        """
        config = checkpoint.model.config
        problem = getattr(config, "problem_type", None)
        if problem not in (None, PROBLEM):
            raise CheckpointError(
                "the checkpoint's head must give any number of labels an example, as the task asks; problem_type in "
                f"config.json of {checkpoint.name} is {problem}. Name a checkpoint that is fine-tuned for this task"
            )
        found = match_labels(spec, config.id2label, label_order=options.get("label_order"), some=True)
        notes = [found.note] if found.note else []
        if problem is None:
            notes.insert(0, f"config.json names no problem_type; {PROBLEM} is taken, as the task asks")
        return cls(spec.metric, "; ".join(notes) or None, found.model_index, len(config.id2label))

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a text or a pair; references are in the model's order, `(n_examples, n_labels)`. See `Objective`."""
        references = np.zeros((len(split.columns["label"]), self.n_labels), dtype=np.int64)
        for row, labels in zip(references, split.columns["label"], strict=True):
            row[[self.model_index[label] for label in labels]] = 1
        targets = Fixed(references.astype(np.float32))
        return text_batches(self, split, tokenizer, targets, references, batch_size, n_max)

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """See `Objective`."""
        logits = logits_of(outputs).float()
        return functional.binary_cross_entropy_with_logits(logits, batch.targets.float(), reduction="none").sum(dim=1)

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        """See `Objective`."""
        return logits_of(outputs)

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples, n_labels)`: 1 where a label is more likely than not, in the model's order."""
        return (kept > 0).astype(np.int64)

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> NDArray[np.float64]:
        """Of all labels of an example being there or not, as they are."""
        logits = kept.astype(np.float64)
        return np.asarray(-np.logaddexp(0, np.where(references == 1, -logits, logits)).sum(axis=1))

    def chance(self, references: NDArray[Any]) -> float:
        """Of giving the same labels always: the most frequent ones, as many as are best for micro F1."""
        counts = references.sum(axis=0)
        order = np.argsort(-counts, kind="stable")
        n_given = np.arange(1, len(counts) + 1)
        best = np.argmax(2 * np.cumsum(counts[order]) / (len(references) * n_given + counts.sum()))
        always = np.zeros_like(references)
        always[:, order[: best + 1]] = 1
        return self.headline(always, references)

    def says_little(self, references: NDArray[Any]) -> str | None:
        """See `Objective`."""
        if len(references) < 2 or (references != references[0]).any():
            return None
        return f"all {len(references)} examples have the same labels, which says little of a model"
