"""A mask in, predictions out: a model on a task, evaluated with some of its heads gated."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks, head_counts
from prune_heads.checkpoints import Checkpoint
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import CheckpointError, DataError, NotFiniteError, TaskError, first_line
from prune_heads.gating import evaluating, gated
from prune_heads.objectives import bound
from prune_heads.objectives.base import Kept, Objective
from prune_heads.objectives.batches import Batches
from prune_heads.padding import n_positions, unseen
from prune_heads.progress import Progress, Reporter, silent
from prune_heads.tasks.task import Split, Task
from prune_heads.verification import prove_gates

_ASKED = 16
"""Examples that may be asked whether gates change their logits; the first is enough in float32."""


@dataclass(frozen=True)
class Subject:
    """A model on a task: what every study starts from."""

    classifier: Checkpoint
    task: Task
    objective: Objective
    batch_size: int
    max_length: int
    device: torch.device

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        task: Task,
        *,
        objective: str | Objective | None = None,
        batch_size: int = 32,
        max_length: int = 128,
        device: torch.device | None = None,
        **options: Any,
    ) -> "Subject":
        """Bring a checkpoint and a task together.

        Args:
            checkpoint: The model with its head, and its tokenizer.
            task: What it is asked.
            objective: Key of `OBJECTIVES`, or one of your own; None for the one that the head names.
            batch_size: Examples a batch.
            max_length: Tokens an example, at most.
            device: Where it runs; None for the CPU.
            options: Of the objective, such as `label_order` or `beams`.

        Raises:
            CheckpointError: If the head was trained for another kind of answer.
            LabelError: If their labels cannot be matched by name.
            TaskError: If no objective fits both.
            UnsupportedModelError: If the heads of the model cannot be found.
        """
        device = device or torch.device("cpu")
        attention_blocks(checkpoint.model)
        if not isinstance(objective, Objective):
            objective = bound(checkpoint, task.spec, objective, **options)
        elif options:
            raise TaskError(f"an objective that is made already takes no options; got {', '.join(options)}")
        checkpoint.model.to(device)
        return cls(checkpoint, task, objective, batch_size, max_length, device)

    @property
    def model(self) -> nn.Module:
        """The checkpoint's module."""
        return self.classifier.model

    @property
    def blocks(self) -> list[AttentionBlock]:
        """The attention blocks as they are now."""
        return attention_blocks(self.model)

    @property
    def n_heads(self) -> HeadCounts:
        """Heads per attention block before any removal."""
        return head_counts(self.blocks)

    @property
    def n_max(self) -> int:
        """Tokens that a text may have at most: as was asked for, and as model and tokenizer allow."""
        limit = getattr(self.classifier.tokenizer, "model_max_length", self.max_length)
        return min(self.max_length, n_positions(self.model), limit)

    def measurable(self, split: Split, reporter: Reporter) -> Split:
        """The examples of a split that something is predicted of.

        Examples that are cut or left out are noted, and those that are cut are counted in the split.

        Raises:
            DataError: If no example is left.
        """
        batches = self.tokens(split)
        n, kept = batches.n_examples, self.objective.measurable(batches)
        if batches.n_cut:
            reporter.note(f"{split.name}: {batches.n_cut} of {n} examples are cut at {self.n_max} tokens")
        split = replace(split, n_cut=batches.n_cut)
        if kept is None or len(kept) == n:
            return split
        if len(kept) == 0:
            raise DataError(
                f"{split.source}: some text must have a token to predict, got none in {n}. A causal model "
                "needs two tokens, a masked one a token that is not special. Check that the tokenizer is its own"
            )
        reporter.note(f"{split.name}: {n - len(kept)} of {n} texts have no token to predict and are left out")
        return split.at(kept.tolist())

    def batches(self, split: Split) -> Batches:
        """The split, prepared for this model and padded as it takes it; see `prune_heads.padding`."""
        return unseen(self.model, self.tokens(split))

    def tokens(self, split: Split) -> Batches:
        """The split, prepared for this model; see `Objective.batches`."""
        return self.objective.batches(split, self.classifier.tokenizer, batch_size=self.batch_size, n_max=self.n_max)

    def prove_gates(self, batches: Batches) -> None:
        """Refuse to go on when masks are not applied in this model.

        Raises:
            MaskNotAppliedError: See `prove_gates`.
            CheckpointError: If the model cannot compute at all.
        """
        some = batches.batch(np.arange(min(_ASKED, batches.n_examples)))
        try:
            with evaluating(self.model):
                prove_gates(self.model, some.to(next(self.model.parameters()).device).inputs)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind, file = self.objective.head.reads, "config.json"
            raise CheckpointError(
                f"the model {self.classifier.name} must compute on the task's {kind}s; got {type(error).__name__}: "
                f"{first_line(error).rstrip('.')}. Check its {'preprocessor_' * (kind == 'image')}{file}"
            ) from error


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Batches, gates: Sequence[Tensor] | None = None, *, progress: Progress = silent
) -> Kept:
    """What is kept of every example, `(n_examples, width)` in file order, with the heads gated if gates are given.

    Raises:
        NotFiniteError: If a number is NaN or infinite.
    """
    device = next(model.parameters()).device
    found: Kept = np.empty(0, dtype=np.float32)
    with evaluating(model), gated(model, gates) if gates is not None else nullcontext():
        for batch in batches:
            kept = batches.objective.kept(model, batch.to(device)).float().cpu().numpy()
            check_finite(kept, batch.index, "logits")
            if not found.size:
                found = np.empty((batches.n_examples, kept.shape[1]), dtype=np.float32)
            found[batch.index] = kept
            progress(len(kept))
    return found


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
