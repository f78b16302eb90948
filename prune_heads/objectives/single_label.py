"""One label an example, of a sequence classifier."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig

from prune_heads.checkpoints import CLASSIFICATION, Checkpoint, Head, check_problem, classification_head
from prune_heads.errors import DataError
from prune_heads.modes import logits_of
from prune_heads.objectives.base import Asked, Examples, Kept, Objective
from prune_heads.objectives.batches import Batch, Batches, Fixed
from prune_heads.objectives.labels import match_labels
from prune_heads.objectives.texts import tokenize
from prune_heads.objectives.values import index


@dataclass(frozen=True)
class TextClassifier(Objective):
    """What the objectives of sequence classifiers share."""

    head = CLASSIFICATION
    reads_one_token = True
    trains = True
    options = frozenset({"label_order"})

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        """See `Objective`."""
        return classification_head(config, name)

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        """A classifier of transformers, or a module of another kind."""
        other = re.search(r"For(?!SequenceClassification)[A-Z]\w*$", type(checkpoint.model).__name__)
        return checkpoint.objective is None and other is None

    @classmethod
    def is_named_by(cls, checkpoint: Checkpoint) -> bool:
        """Unless the configuration says that each output is a label of its own."""
        problem = getattr(checkpoint.model.config, "problem_type", None)
        return cls.fits(checkpoint) and problem != "multi_label_classification"


@dataclass(frozen=True)
class SingleLabel(TextClassifier):
    """Cross-entropy; kept are the logits, in the model's order."""

    model_index: tuple[int, ...] = ()
    """The logit of each label of the task."""

    name = "single-label"
    classes = "one"
    chooses = True
    below_chance = (
        "always giving the most frequent answer",
        "check the labels (--label-order) and that the checkpoint is for this task",
    )

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> int:
        """See `Objective`."""
        return index(value, codes)

    @classmethod
    def of_labels(cls, labels: Tensor, n_outputs: int) -> Self | None:
        """Indices, one an example; see `Objective`."""
        is_index = labels.ndim == 1 and not labels.is_floating_point()
        return cls("accuracy", model_index=tuple(range(n_outputs))) if is_index else None

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: Asked, **options: Any) -> Self:
        """Match the labels by name; see `Objective` and `match_labels`."""
        config = checkpoint.model.config
        check_problem(config, checkpoint.name, regression=spec.labels is None)
        found = match_labels(spec, config.id2label, label_order=options.get("label_order"))
        return cls(spec.metric, found.note, found.model_index)

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a text or a pair; see `Objective`."""
        labels = np.asarray(split.columns["label"], dtype=np.int64)
        targets = Fixed(np.asarray(self.model_index, dtype=np.int64)[labels])
        return text_batches(self, split, tokenizer, targets, labels, batch_size, n_max)

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """See `Objective`."""
        return functional.cross_entropy(logits_of(outputs).float(), batch.targets, reduction="none")

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        """See `Objective`."""
        return logits_of(outputs)

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples,)`: indices of the task's labels."""
        return kept[:, list(self.model_index)].argmax(axis=1)

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> NDArray[np.float64]:
        """Of the right label, among those of the model."""
        logits = kept.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        right = np.asarray(self.model_index)[references]
        return np.asarray(logits[np.arange(len(logits)), right] - np.log(np.exp(logits).sum(axis=1)))

    def chance(self, references: NDArray[Any]) -> float:
        """Of always giving the most frequent label."""
        return self.headline(np.full(len(references), np.bincount(references).argmax()), references)

    def says_little(self, references: NDArray[Any]) -> str | None:
        """See `Objective`."""
        return all_alike(references)


def all_alike(references: NDArray[Any]) -> str | None:
    """What to say of examples that have one label or score."""
    if len(references) < 2 or np.ptp(references) > 0:
        return None
    return (
        f"all {len(references)} examples have the same label, which says little of a model; files are often sorted by "
        "label: --sample N draws examples at random"
    )


def text_batches(
    objective: Objective,
    split: Examples,
    tokenizer: Any,
    targets: Fixed,
    references: NDArray[Any],
    batch_size: int,
    n_max: int,
) -> Batches:
    """A row a text or a pair.

    Raises:
        DataError: If an example has no token.
    """
    inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text", "text_pair": "text_pair"})
    if len(empty := np.flatnonzero(inputs["input_ids"].sizes == 0)):
        raise DataError(
            f"{split.source}: each example must have a token, but example {empty[0] + 1} of {split.name} has none. "
            "Leave it out, or take a tokenizer that adds special tokens"
        )
    return Batches(objective, inputs, targets, references, batch_size, n_cut=int(cut.sum()))
