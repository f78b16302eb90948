"""Sequence classifiers: one label an example, a score, or any number of labels."""
# ruff: noqa: D102 -- `Objective` says what each method gives

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig

from prune_heads.checkpoints import CLASSIFICATION, Checkpoint, Head, classification_head
from prune_heads.errors import CheckpointError, DataError
from prune_heads.gating import logits_of
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.base import Kept, Objective
from prune_heads.objectives.batches import Batch, Batches, Field
from prune_heads.objectives.rows import Split, index, named, score
from prune_heads.objectives.texts import match_labels, tokenize
from prune_heads.statistics import Metric, mean_of, unless
from prune_heads.visible import brief

PROBLEM = "multi_label_classification"  # `problem_type` of checkpoints whose outputs are labels of their own


@dataclass(frozen=True)
class SingleLabel(Objective):
    """Cross-entropy; kept are the logits, in the model's order."""

    model_index: tuple[int, ...] = ()  # the logit of each label of the task
    n_labels: int = 0  # logits

    name = "single-label"
    head = CLASSIFICATION
    reads_one_token = True
    trains = True
    chooses = True
    below_chance = ("always giving the most frequent answer", "check the labels (--label-order) and the checkpoint")

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> Any:
        return index(value, codes)

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        return classification_head(config, name)

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        """A classifier of transformers, or a module of another kind."""
        other = re.search(r"For(?!SequenceClassification)[A-Z]\w*$", type(checkpoint.model).__name__)
        return checkpoint.objective is None and other is None

    @classmethod
    def is_named_by(cls, checkpoint: Checkpoint) -> bool:
        """By whether the configuration says that each output is a label of its own."""
        says_many = getattr(checkpoint.model.config, "problem_type", None) == PROBLEM
        return cls.fits(checkpoint) and says_many == (cls.problem == PROBLEM)

    @classmethod
    def of_labels(cls, labels: Tensor, n_outputs: int) -> Self | None:
        """Indices, one an example."""
        is_index = labels.ndim == 1 and not labels.is_floating_point()
        return cls("accuracy", None, tuple(range(n_outputs)), n_outputs) if is_index else None

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        """Match the labels by name.

        A `CheckpointError` if the head was trained for another kind of answer; a `LabelError` as of `match_labels`.
        """
        config, order = checkpoint.model.config, options.get("label_order")
        problem = getattr(config, "problem_type", None)
        if problem not in (None, cls.problem):
            must = f"the problem_type of {checkpoint.name} must be {cls.problem}, as the task asks; got {problem}"
            raise CheckpointError(f"{must}. Name a checkpoint that is fine-tuned for this task")
        model_index, note = match_labels(spec, config.id2label, label_order=order, some=cls.problem == PROBLEM)
        if problem is None and cls.problem == PROBLEM:
            said = f"config.json names no problem_type; {PROBLEM} is taken, as the task asks"
            note = f"{said}; {note}" if note else said
        return cls(spec.metric, note, model_index, len(config.id2label))

    def truth(self, labels: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The targets and the references of each example."""
        references = np.asarray(labels, dtype=np.int64)
        return np.asarray(self.model_index, dtype=np.int64)[references], references

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a text or a pair."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text", "text_pair": "text_pair"})
        if len(empty := np.flatnonzero(inputs["input_ids"].sizes == 0)):
            must = f"each example must have a token, but example {empty[0] + 1} of {split.name} has none"
            raise DataError(f"{split.source}: {must}. Leave it out, or take a tokenizer that adds special tokens")
        targets, references = self.truth(split.columns["label"])
        return Batches(self, inputs, Field(targets), references, batch_size, n_cut=int(cut.sum()))

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        return functional.cross_entropy(logits_of(outputs).float(), batch.targets, reduction="none")

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples,)`: indices of the task's labels."""
        return kept[:, list(self.model_index)].argmax(axis=1)

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> NDArray[np.float64] | None:
        """Of the right label, among those of the model."""
        log = torch.from_numpy(kept).double().log_softmax(dim=1).numpy()
        return np.asarray(log[np.arange(len(log)), np.asarray(self.model_index)[references]])

    def always(self, references: NDArray[Any]) -> Any:
        """The answer that is best if it is always given, shaped as a reference."""
        return np.bincount(references).argmax()

    def chance(self, references: NDArray[Any]) -> float:
        """Of always giving the same answer."""
        return self.headline(np.broadcast_to(self.always(references), references.shape), references)

    def says_little(self, references: NDArray[Any]) -> str | None:
        """Where all labels or scores are the same."""
        if len(references) < 2 or (references != references[0]).any():
            return None
        said = f"all {len(references)} examples have the same label{'s' if references.ndim > 1 else ''}"
        cure = "files are often sorted by label: --sample N draws examples at random"
        return f"{said}, which says little of a model; {cure}"


class Regression(SingleLabel):
    """Squared error of the one output; kept is the score."""

    name = "regression"
    problem = "regression"
    chooses = False

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> float:
        return score(value)

    @classmethod
    def of_labels(cls, labels: Tensor, n_outputs: int) -> Self | None:
        """Real numbers, one an example."""
        return cls("pearson") if labels.ndim == 1 and labels.is_floating_point() else None

    def truth(self, labels: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        scores = np.asarray(labels, dtype=np.float64)
        return scores.astype(np.float32), scores

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        return (logits_of(outputs).float().squeeze(-1) - batch.targets).square()

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples,)`: scores."""
        return kept[:, 0]

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> None:
        """Not of scores."""
        return None

    def always(self, references: NDArray[Any]) -> Any:
        return references.mean()


_UNLESS_SOME: Any = {"undefined": unless(np.any, "labels, and none of the {} examples has one")}
METRICS: Mapping[str, Metric] = {
    "micro_f1": mean_of("micro_f1", lambda p, t: 2 * (p * t).sum(1), lambda p, t: (p + t).sum(1), **_UNLESS_SOME),
    "macro_f1": mean_of("macro_f1", lambda p, t: 2 * p * t, np.add, **_UNLESS_SOME),
}
"""Of predictions and references that are 1 where an example has a label, else 0, `(m, n_labels)`.

The micro average counts decisions, of which all examples give as many. The macro average is of few examples for rare
labels, so its intervals are wide: it stands second.
"""


class MultiLabel(SingleLabel):
    """Binary cross-entropy, summed over the labels of the model; kept are the logits, in its order.

    A label that the data do not name is one that no example has.
    """

    name = "multi-label"
    problem = PROBLEM
    own_metrics = METRICS
    below_chance = ("always giving the same labels", SingleLabel.below_chance[1])

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> list[int]:
        """The indices of the labels, ascending; none is fine."""
        if not isinstance(value, list):
            raise ValueError(f"the labels must be a list of names, in CSV text separated by |, got {brief(value)}")
        found = sorted(index(each, codes) for each in value)
        if len(set(found)) < len(found):
            raise ValueError(f"each label must be named once, got {brief(value)}")
        return found

    @classmethod
    def named(cls, value: Any, names: Sequence[str]) -> Any:
        """Names, or a 0 or 1 for each of them."""
        if isinstance(value, list) and value and not any(isinstance(each, str) for each in value):
            is_row = len(value) == len(names) and all(each in (0, 1) for each in value)
            return [name for name, there in zip(names, value, strict=True) if there] if is_row else value
        return named(value, names)

    @classmethod
    def of_labels(cls, labels: Tensor, n_outputs: int) -> Self | None:
        """A 0 or 1 for each output."""
        fits = labels.shape[1:] == (n_outputs,) and bool(((labels == 0) | (labels == 1)).all())
        return cls("micro_f1", None, tuple(range(n_outputs)), n_outputs) if fits else None

    def truth(self, labels: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """1 where an example has a label, else 0, in the model's order, `(n_examples, n_labels)` both."""
        references = np.zeros((len(labels), self.n_labels), dtype=np.int64)
        for row, found in zip(references, labels, strict=True):
            row[[self.model_index[label] for label in found]] = 1
        return references.astype(np.float32), references

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        logits = logits_of(outputs).float()
        return functional.binary_cross_entropy_with_logits(logits, batch.targets.float(), reduction="none").sum(dim=1)

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples, n_labels)`: 1 where a label is more likely than not, in the model's order."""
        return (kept > 0).astype(np.int64)

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> NDArray[np.float64]:
        """Of all labels of an example being there or not, as they are."""
        logits = kept.astype(np.float64)
        return np.asarray(-np.logaddexp(0, np.where(references == 1, -logits, logits)).sum(axis=1))

    def always(self, references: NDArray[Any]) -> Any:
        """The most frequent labels, as many as are best for micro F1."""
        counts = references.sum(axis=0)
        order = np.argsort(-counts, kind="stable")
        n_given = np.arange(1, len(counts) + 1)
        best = np.argmax(2 * np.cumsum(counts[order]) / (len(references) * n_given + counts.sum()))
        return np.isin(np.arange(len(counts)), order[: best + 1]).astype(np.int64)
