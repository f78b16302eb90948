"""Every head of some layers masked on its own, on one split: what a table of ablations is made from."""

from collections.abc import Mapping
from dataclasses import dataclass

from prune_heads.ablation import ablations, predict_masks
from prune_heads.descriptors import Head, named_blocks
from prune_heads.errors import DataError, HeadDescriptorError
from prune_heads.heads import HeadMask
from prune_heads.objectives.base import Kept
from prune_heads.options import Ablation
from prune_heads.predictions import Predictions


@dataclass(frozen=True)
class Measured:
    """The answers of a model on a split without a mask and under each ablation."""

    predictions: Predictions
    kind: str
    base: Kept
    by_head: Mapping[Head, Kept]
    seed: int = 0
    """Of the bootstrap."""

    def by_mask(self) -> dict[HeadMask, Kept]:
        """The same by the masks that were applied."""
        masks = ablations(self.kind, self.predictions.gone)
        return {self.predictions.gone: self.base} | {masks[head]: x for head, x in self.by_head.items()}

    def value(self, kept: Kept) -> float:
        """The headline metric."""
        return self.predictions.metric_of(kept)

    def deltas(self) -> dict[Head, float]:
        """Metric under each ablation minus metric without a mask."""
        base = self.value(self.base)
        return {head: self.value(kept) - base for head, kept in self.by_head.items()}


def measure(predictions: Predictions, options: Ablation) -> Measured:
    """The ablations of one kind on one split.

    Raises:
        DataError: If the metric is undefined on the split.
        HeadDescriptorError: If a block is not there, or no head is left in them.
        PruneHeadsError: If masks are not applied, logits are not finite, or the store cannot be written.
    """
    check_defined(predictions)
    masks = masks_of(predictions, options)
    wanted = [predictions.gone, *masks.values()]
    found = predict_masks(predictions, wanted, memory=options.memory, compiled=options.compiled)
    base = found[predictions.gone]
    by_head = {head: found[mask] for head, mask in masks.items()}
    return Measured(predictions, options.kind, base, by_head, options.seed)


def masks_of(predictions: Predictions, options: Ablation) -> dict[Head, HeadMask]:
    """The mask that asks about each head, beside that of no head.

    Raises:
        HeadDescriptorError: If a block is not there, or no head is left in them.
    """
    blocks = None if options.blocks is None else named_blocks(options.blocks, predictions.gone.n_heads)
    masks = ablations(options.kind, predictions.gone, blocks)
    if not masks:
        raise HeadDescriptorError(
            "the layers asked for must have heads left to mask; all of theirs were removed before. Name others with "
            "--blocks, or take a checkpoint that has heads"
        )
    return masks


def check_defined(predictions: Predictions) -> None:
    """Refuse a split on which the headline metric says nothing, before any work.

    Raises:
        DataError: Saying why, e.g. that all its labels are alike.
    """
    if reason := predictions.measure.why_undefined(predictions.references):
        shown = f"{predictions.split.name} ({len(predictions.references)} examples)"
        raise DataError(
            f"{predictions.metric} must be defined on {shown}: {reason} (files are often sorted by label: --sample N). "
            "Take another split, or more examples"
        )
