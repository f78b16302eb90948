"""A mask in, predictions out: a classifier on a task, evaluated with some of its heads gated."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks, head_counts
from prune_heads.batching import Batches, tokenize
from prune_heads.checkpoints import Classifier
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import NotFiniteError
from prune_heads.gating import gated
from prune_heads.probe import prove_gates
from prune_heads.progress import Progress, Reporter, silent
from prune_heads.tasks.labels import LabelMap, match_labels
from prune_heads.tasks.metrics import compute_metrics
from prune_heads.tasks.spec import headline
from prune_heads.tasks.task import Split, Task

Logits = NDArray[np.float32]
"""`(n_examples, n_labels)` in file order and the model's label order; regression has one column."""


@dataclass(frozen=True)
class Subject:
    """A classifier on a task: what every study starts from."""

    classifier: Classifier
    task: Task
    labels: LabelMap | None
    """None for regression."""
    batch_size: int
    max_length: int
    device: torch.device

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        task: Task,
        *,
        label_order: Sequence[str] | None = None,
        batch_size: int = 32,
        max_length: int = 128,
        device: torch.device | None = None,
    ) -> "Subject":
        """Bring a classifier and a task together.

        Raises:
            LabelError: If their labels cannot be matched by name.
            UnsupportedModelError: If the heads of the model cannot be found.
        """
        device = device or torch.device("cpu")
        attention_blocks(classifier.model)
        labels = match_labels(task.spec, classifier.model.config.id2label, label_order=label_order)
        classifier.model.to(device)
        return cls(
            classifier,
            task,
            None if task.spec.labels is None else labels,
            batch_size,
            max_length,
            device,
        )

    @property
    def model(self) -> nn.Module:
        """The classifier's module."""
        return self.classifier.model

    @property
    def blocks(self) -> list[AttentionBlock]:
        """The attention blocks as they are now."""
        return attention_blocks(self.model)

    @property
    def n_heads(self) -> HeadCounts:
        """Heads per attention block before any removal."""
        return head_counts(self.blocks)

    def batches(self, split: Split) -> Batches:
        """The split, tokenised for this model."""
        return tokenize(
            split,
            self.classifier.tokenizer,
            model_index=None if self.labels is None else self.labels.model_index,
            batch_size=self.batch_size,
            max_length=min(self.max_length, n_positions(self.model)),
        )

    def prove_gates(self, batches: Batches) -> None:
        """Refuse to go on when masks are not applied in this model.

        Raises:
            MaskNotAppliedError: See `prune_heads.probe`.
        """
        prove_gates(self.model, batches.batch(np.arange(1)).to(self.device).inputs)

    def predictions(self, logits: Logits) -> NDArray[np.int64] | NDArray[np.float32]:
        """`(n_examples,)`: label indices of the task, or scores for regression."""
        if self.labels is None:
            return logits[:, 0]
        return logits[:, list(self.labels.model_index)].argmax(axis=1)

    def metrics(self, logits: Logits, split: Split) -> dict[str, float]:
        """The task's official metrics."""
        return compute_metrics(self.task.spec.metric, self.predictions(logits), references(split))

    def majority(self, split: Split) -> float:
        """The headline metric of always giving the most frequent label (the mean, for regression)."""
        truth = references(split)
        if self.labels is None:
            constant = np.full(len(truth), truth.mean())
        else:
            constant = np.full(len(truth), np.bincount(truth.astype(np.int64)).argmax())
        return compute_metrics(self.task.spec.metric, constant, truth)[headline(self.task.spec.metric)]


def n_positions(model: nn.Module) -> int:
    """Tokens that the position embeddings have room for; RoBERTa's begin after the padding's index."""
    rooms = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    return min(rooms, default=sys.maxsize)


def references(split: Split) -> NDArray[np.int64] | NDArray[np.float64]:
    """`(n_examples,)`: the true label indices or scores, in file order."""
    return np.asarray(split.dataset["label"][:])  # a column without the slice is read one by one


@torch.inference_mode()
def predict(
    model: nn.Module,
    batches: Batches,
    gates: Sequence[Tensor] | None = None,
    *,
    progress: Progress = silent,
) -> Logits:
    """The logits of every example, in file order, with the heads gated if gates are given.

    Raises:
        NotFiniteError: If a logit is NaN or infinite.
    """
    device = next(model.parameters()).device
    rows: list[tuple[NDArray[np.int64], Logits]] = []
    with gated(model, gates) if gates is not None else nullcontext():
        for batch in batches:
            logits = model(**batch.to(device).inputs).logits.float().cpu().numpy()
            check_finite(logits, batch.index, "logits")
            rows.append((batch.index, logits))
            progress(len(logits))
    index = np.concatenate([index for index, _ in rows])
    result: Logits = np.empty((len(index), rows[0][1].shape[1]), dtype=np.float32)
    result[index] = np.concatenate([logits for _, logits in rows])
    return result


def check_finite(values: NDArray[np.floating], index: NDArray[np.int64], what: str) -> None:
    """Refuse NaN and infinity in `values`, `(batch, ...)`.

    Raises:
        NotFiniteError: Naming the first example (from 1, in file order).
    """
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise NotFiniteError(
            f"{what} must be finite; got NaN or infinity for {int((~finite).sum())} examples of a batch, the first "
            f"being example {int(index[~finite].min()) + 1} of the split. Try --dtype float32, and check the "
            "checkpoint's weights"
        )


def warn_if_below_majority(subject: Subject, split: Split, base: Logits, reporter: Reporter) -> None:
    """A base score under the majority class most often means that labels are swapped."""
    name = headline(subject.task.spec.metric)
    score, majority = subject.metrics(base, split)[name], subject.majority(split)
    if score < majority:
        reporter.note(
            f"{split.name}: the base {name} {score:.4f} is below that of always giving the most frequent answer "
            f"({majority:.4f}): check the labels (--label-order) and that the checkpoint is for this task"
        )
