"""A mask in, predictions out: a model on a task, evaluated with some of its heads gated.

Padding changes no example. Its side is tried on the model, never assumed: on the right an absolute position is that of
the example alone, and nearly every model agrees. XLNet reads its last place, so it is padded on the left. Some see the
padding on either side (the convolutions of MobileBERT and CANINE, the landmarks of Nyströmformer), or one example
through another (routers of limited capacity): these are given one example at a time.
"""

import inspect
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks, head_counts, locate
from prune_heads.checkpoints import Checkpoint
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import CheckpointError, DataError, NotFiniteError, TaskError, UnsupportedModelError, first_line
from prune_heads.gating import evaluating, gated
from prune_heads.objectives import bound
from prune_heads.objectives.base import Kept, Objective
from prune_heads.objectives.batches import Batches, Ragged
from prune_heads.objectives.replacing import stand_in
from prune_heads.progress import Progress, Reporter, silent
from prune_heads.tasks.task import Split, Task
from prune_heads.verification import prove_gates

EACH_ALONE = "positions and attention of each example as if it were alone"
"""What `unseen` guarantees. These words are part of every key, so keys do not depend on batches and padding."""

_POSITIONS = ("position_embeddings", "embed_positions", ".wpe")  # how the names of position embeddings end


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
            task: What it is asked; without the examples that were set aside when the model was trained.
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
        task = task.of_model(getattr(checkpoint.model, "config", None))
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

        Examples that are cut or left out are noted, and those that are cut are counted in the split. A `DataError` if
        no example is left.
        """
        batches = self.tokens(split)
        n, kept = batches.n_examples, self.objective.measurable(batches)
        if batches.n_cut:
            reporter.note(f"{split.name}: {batches.n_cut} of {n} examples are cut at {self.n_max} tokens")
        split = replace(split, n_cut=batches.n_cut)
        if kept is None or len(kept) == n:
            return split
        if len(kept) == 0:
            must = f"{split.source}: some text must have a token to predict, got none in {n}"
            needs = "A causal model needs two tokens, a masked one a token that is not special"
            raise DataError(f"{must}. {needs}. Check that the tokenizer is its own")
        reporter.note(f"{split.name}: {n - len(kept)} of {n} texts have no token to predict and are left out")
        return split.at(kept.tolist())

    def batches(self, split: Split) -> Batches:
        """The split, prepared for this model and padded as it takes it; see `unseen`."""
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
        some = batches.batch(np.arange(min(16, batches.n_examples)))  # the first is enough in float32
        try:
            with evaluating(self.model):
                prove_gates(self.model, some.to(next(self.model.parameters()).device).inputs)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind, said = self.objective.head.reads, f"{type(error).__name__}: {first_line(error).rstrip('.')}"
            must = f"the model {self.classifier.name} must compute on the task's {kind}s; got {said}"
            file = "preprocessor_config.json" if kind == "image" else "config.json"
            raise CheckpointError(f"{must}. Check its {file}") from error


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Batches, gates: Sequence[Tensor] | None = None, *, progress: Progress = silent
) -> Kept:
    """What is kept of every example, `(n_examples, width)` in file order, with the heads gated if gates are given.

    In their place is what `batches.replacement` says. A `NotFiniteError` if a number is NaN or infinite.
    """
    device = next(model.parameters()).device
    found: Kept = np.empty(0, dtype=np.float32)
    once, each = (gates, None) if batches.replacement is None else (None, gates)
    with evaluating(model), nullcontext() if once is None else gated(model, once):
        for batch in batches:
            with nullcontext() if each is None else gated(model, each, stand_in(model, batches, batch.index)):
                kept = batches.objective.kept(model, batch.to(device)).float().cpu().numpy()
            check_finite(kept, batch.index, "logits")
            if not found.size:
                found = np.empty((batches.n_examples, kept.shape[1]), dtype=np.float32)
            found[batch.index] = kept
            progress(len(kept))
    return found


def check_finite(values: NDArray[np.floating], index: NDArray[np.int64], what: str) -> None:
    """Refuse NaN and infinity in `values`, `(batch, ...)`: a `NotFiniteError` names the first example, from 1."""
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        must = f"{what} must be finite; got NaN or infinity for {int((~finite).sum())} examples of a batch"
        first = f"the first being example {int(index[~finite].min()) + 1} of the split"
        raise NotFiniteError(f"{must}, {first}. Try --dtype float32, and check the checkpoint's weights")


def n_positions(model: nn.Module) -> int:
    """Tokens that a model, or each model inside it, has positions for: by its configuration and its embeddings.

    RoBERTa's begin after the padding's index, BART's after 2.
    """
    tables = [m for name, m in model.named_modules() if name.endswith(_POSITIONS) and isinstance(m, nn.Embedding)]
    starts = [(-1 if m.padding_idx is None else m.padding_idx) + 1 + int(getattr(m, "offset", 0)) for m in tables]
    rooms = [table.num_embeddings - start for table, start in zip(tables, starts, strict=True)]
    for part in locate.models_inside(model).values():
        config = part.config.get_text_config()
        said = [getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len")]
        rooms += [n for n in said if isinstance(n, int) and n > 0]  # XLNet says -1, for it has no limit
    return min(rooms, default=sys.maxsize)


@torch.no_grad()
def unseen(model: nn.Module, batches: Batches) -> Batches:
    """The same examples, padded so that the logits of each are those of it alone; if need be in batches of one.

    An `UnsupportedModelError` if the model does not run on an example alone, or says something else of it afterwards.
    """
    ids = batches.inputs.get("input_ids")
    if not isinstance(ids, Ragged):
        return batches  # nothing is padded
    batches = _for_model(model, batches, ids)
    there = np.flatnonzero(batches.n_tokens)
    by_length = there[np.argsort(-batches.n_tokens[there], kind="stable")]
    few = by_length[np.unique(np.linspace(0, len(by_length) - 1, min(3, len(by_length))).astype(int))]
    if len(few) < 2:  # from the longest to the shortest; all but the longest are run alone too
        return batches
    device = next(model.parameters()).device

    def logits(batches: Batches, index: np.ndarray) -> Tensor:
        """What one forward pass says of these examples."""
        batch = batches.batch(index).to(device)
        try:
            return batches.objective.read(model(**batch.inputs), batch)
        except torch.OutOfMemoryError:
            raise
        except (IndexError, RuntimeError, ValueError) as error:
            said = f"{type(model).__name__} says: {first_line(error)}"
            raise UnsupportedModelError(f"a model must run on each example alone; {said}") from error

    def alone() -> Tensor:
        return torch.cat([logits(batches, few[i : i + 1]) for i in range(1, len(few))])

    with evaluating(model):
        expected = alone()
        for side in ("right", "left"):
            padded = replace(batches, side=side)
            with suppress(UnsupportedModelError):  # it refuses such a batch, so the other side is tried
                if _near(logits(padded, few)[1:], expected):
                    return padded
        if not _near(alone(), expected):
            must = f"the logits of an example must be a function of the example; those of {type(model).__name__} depend"
            hint = "Where its configuration names another kind of attention, take that"
            raise UnsupportedModelError(f"{must} on what the model was given before. {hint}")
    return replace(batches, batch_size=1, side="none")


def _for_model(model: nn.Module, batches: Batches, ids: Ragged) -> Batches:
    """Filled with the token that the model takes for padding, by which some find the last token of a text."""
    config = getattr(model, "config", None)
    said = getattr(config, "pad_token_id", None)
    n_embedded = getattr(config, "vocab_size", sys.maxsize)  # CANINE has none
    takes = inspect.signature(model.forward).parameters.values()
    inputs = dict(batches.inputs)
    if not any(p.name == "attention_mask" or p.kind is p.VAR_KEYWORD for p in takes):
        del inputs["attention_mask"]
    if isinstance(said, int) and 0 <= said < n_embedded:
        inputs["input_ids"] = replace(ids, fill=said)
    return replace(batches, inputs=inputs)


def _near(found: Tensor, expected: Tensor) -> bool:
    """Up to rounding, of the size of the logits. What is not finite is found where it is used."""
    tolerance = 1e-4 if expected.dtype == torch.float32 else 5e-2
    size = float(expected.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(found.float(), expected.float(), rtol=0, atol=tolerance * size, equal_nan=True)
