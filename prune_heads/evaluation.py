"""A mask in, predictions out: a model on a task, evaluated with some of its heads gated."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks, head_counts
from prune_heads.batching import Batch, Batches, Translation, tokenize, tokenize_texts
from prune_heads.checkpoints import Classifier, LanguageModel, check_problem, how_it_writes, translate
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import CheckpointError, DataError, LabelError, NotFiniteError, TaskError, first_line
from prune_heads.gating import gated
from prune_heads.modes import evaluating, logits_of
from prune_heads.padding import n_positions, unseen
from prune_heads.probe import prove_gates
from prune_heads.progress import Progress, Reporter, silent
from prune_heads.tasks.bleu import bleu_counts
from prune_heads.tasks.labels import LabelMap, match_labels
from prune_heads.tasks.metrics import compute_metrics
from prune_heads.tasks.spec import headline
from prune_heads.tasks.task import Split, Task

Logits = NDArray[np.float32]
"""`(n_examples, n_labels)` in file order and the model's label order.

Regression has one column, and so has a language model: the sum of the log-likelihoods (nats) of an example's tokens.
A translation has the columns of `bleu_counts`.
"""


_ASKED = 16
"""Examples that may be asked whether gates change their logits; the first is enough in float32."""


@dataclass(frozen=True)
class Subject:
    """A model on a task: what every study starts from."""

    classifier: Classifier
    task: Task
    labels: LabelMap | None
    """None for regression, and for a language model."""
    batch_size: int
    max_length: int
    device: torch.device
    beams: int = 1
    """Hypotheses that a translation keeps at every token; 1 is greedy."""

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
        beams: int = 1,
    ) -> "Subject":
        """Bring a classifier, or a language model, and a task together.

        Raises:
            CheckpointError: If the head was trained for another kind of answer.
            LabelError: If their labels cannot be matched by name.
            TaskError: If the one is of labels and the other of texts.
            UnsupportedModelError: If the heads of the model cannot be found.
        """
        device = device or torch.device("cpu")
        attention_blocks(classifier.model)
        _check_kinds(classifier, task, label_order)
        labels = None
        if task.spec.kind == "labelled":
            check_problem(classifier.model.config, classifier.name, regression=task.spec.is_regression)
            labels = match_labels(task.spec, classifier.model.config.id2label, label_order=label_order)
        classifier.model.to(device)
        return cls(
            classifier,
            task,
            None if task.spec.labels is None else labels,
            batch_size,
            max_length,
            device,
            beams,
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

    def measurable(self, split: Split, reporter: Reporter) -> Split:
        """The examples of a split that there is something to measure on, which for a classifier are all.

        A text of which a language model predicts no token adds 0 to both sums of its metric, so it is left out. What
        is left has its number of predicted tokens as its `label`. Texts that are cut or left out are noted, and those
        that are cut are counted in the split.

        Raises:
            DataError: If no text is left.
        """
        batches = self.tokens(split)
        counts, n = batches.labels, batches.n_examples
        if batches.n_cut:
            reporter.note(f"{split.name}: {batches.n_cut} of {n} examples are cut at {self.n_max} tokens")
        split = replace(split, n_cut=batches.n_cut)
        if batches.targets is None:
            return split
        kept = np.flatnonzero(counts)
        if len(kept) == 0:
            raise DataError(
                f"{split.source}: some text must have a token to predict, got none in {n}. A causal model "
                "needs two tokens, a masked one a token that is not special. Check that the tokenizer is its own"
            )
        if n_left_out := n - len(kept):
            reporter.note(
                f"{split.name}: {n_left_out} of {n} texts have no token to predict and are left out"
            )
        return split.labelled(kept.tolist(), counts[kept].tolist())

    def batches(self, split: Split) -> Batches:
        """The split, tokenised for this model and padded as it takes it; see `prune_heads.padding`.

        Raises: as `tokens` and `unseen`.
        """
        return unseen(self.model, self.tokens(split))

    def tokens(self, split: Split) -> Batches:
        """The split, tokenised for this model; for a language model, one that is `measurable`.

        Raises:
            DataError: If a classifier is given an example without any token.
        """
        tokenizer, objective = self.classifier.tokenizer, self.classifier.objective
        size, n_max = self.batch_size, self.n_max
        if objective is not None:
            batches = tokenize_texts(split, tokenizer, objective, batch_size=size, max_length=n_max)
            return replace(batches, translation=self._translation(split))
        index = None if self.labels is None else self.labels.model_index
        batches = tokenize(split, tokenizer, model_index=index, batch_size=size, max_length=n_max)
        if len(empty := np.flatnonzero(batches.n_tokens == 0)):
            raise DataError(
                f"{split.source}: each example must have a token, but example {empty[0] + 1} of {split.name} has "
                "none. Leave it out, or take a tokenizer that adds special tokens"
            )
        return batches

    def prove_gates(self, batches: Batches) -> None:
        """Refuse to go on when masks are not applied in this model.

        Raises:
            MaskNotAppliedError: See `prune_heads.probe`.
            CheckpointError: If the model cannot compute at all.
        """
        some = batches.batch(np.arange(min(_ASKED, batches.n_examples)))
        try:
            with evaluating(self.model):
                prove_gates(self.model, some.to(next(self.model.parameters()).device).inputs)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the model {self.classifier.name} must compute on the task's texts; got {type(error).__name__}: "
                f"{first_line(error)}. Check its config.json"
            ) from error

    def predictions(self, logits: Logits) -> NDArray[np.int64] | NDArray[np.float32]:
        """`(n_examples,)`: label indices of the task, scores for regression, or log-likelihoods (nats).

        Of translations `(n_examples, N_COUNTS)`, as they are.
        """
        if self.task.spec.kind == "translation":
            return logits
        if self.labels is None:
            return logits[:, 0]
        return logits[:, list(self.labels.model_index)].argmax(axis=1)

    def metrics(self, logits: Logits, split: Split) -> dict[str, float]:
        """The task's official metrics."""
        return compute_metrics(self.task.spec.metric, self.predictions(logits), references(split))

    def majority(self, split: Split) -> float:
        """The headline metric of always giving the most frequent label (the mean, for regression).

        Of a language model, that of finding all tokens of its vocabulary equally likely; of translations, none.
        """
        if self.task.spec.kind == "translation":
            return 0.0
        if isinstance(self.model, LanguageModel):
            return -math.log(self.model.vocabulary_size)
        truth = references(split)
        if self.labels is None:
            constant = np.full(len(truth), truth.mean())
        else:
            constant = np.full(len(truth), np.bincount(truth.astype(np.int64)).argmax())
        return compute_metrics(self.task.spec.metric, constant, truth)[headline(self.task.spec.metric)]

    def _translation(self, split: Split) -> Translation | None:
        if self.task.spec.kind != "translation":
            return None
        texts, said = tuple(split.dataset["text_pair"][:]), how_it_writes(self.model)
        return Translation(self.classifier.tokenizer, texts, self.beams, self.n_max, said)

    @property
    def n_max(self) -> int:
        """Tokens that a text may have at most: as was asked for, and as model and tokenizer allow."""
        return min(self.max_length, n_positions(self.model), self.classifier.tokenizer.model_max_length)


def _check_kinds(classifier: Classifier, task: Task, label_order: Sequence[str] | None) -> None:
    kind, objective = task.spec.kind, classifier.objective
    of_model = "labelled" if objective is None else "seq2seq" if objective == "seq2seq" else "lm"
    if ("seq2seq" if kind == "translation" else kind) != of_model:
        raise TaskError(
            f"{task.spec.name}: model and task must be of one kind, got {of_model} and {kind}. Load the model by "
            "load_classifier or load_language_model, as the task is"
        )
    if kind != "labelled" and label_order is not None:
        raise LabelError(f"{task.spec.name}: --label-order must not be given, for texts have no labels")


def references(split: Split) -> NDArray[np.int64] | NDArray[np.float64]:
    """`(n_examples,)`: the true label indices or scores, or the numbers of predicted tokens, in file order."""
    return np.asarray(split.dataset["label"][:])  # a column without the slice is read one by one


def answers(model: nn.Module, batch: Batch) -> Tensor:
    """`(batch, n_labels)`: what a model that is evaluated says of a batch, as it is gated now; see `Logits`."""
    how = batch.translation
    if how is None:
        return logits_of(model(**batch.inputs))
    texts = translate(model, how.tokenizer, batch.inputs, beams=how.beams, n_max=how.n_max)
    return torch.from_numpy(bleu_counts(texts, how.references))


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
    with evaluating(model), gated(model, gates) if gates is not None else nullcontext():
        for batch in batches:
            logits = answers(model, batch.to(device)).float().cpu().numpy()
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
