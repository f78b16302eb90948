"""`prune-heads run --rescale`: on which examples, and what it does to their loss."""

from typing import Any

import torch
from torch import nn

from prune_heads.anatomy import attention_blocks
from prune_heads.evaluation import check_finite
from prune_heads.gating import evaluating
from prune_heads.heads import HeadMask
from prune_heads.objectives.batches import Batches
from prune_heads.objectives.replacing import by_row
from prune_heads.options import Scoring
from prune_heads.predictions import Predictions
from prune_heads.recovery import rescale
from prune_heads.studies.scoring import Lab

MOST_RESCALING = 512  # examples, at most; factors are few, and more change them little


def examples_of(lab: Lab, scoring: Scoring) -> Predictions:
    """Those that heads are scored on, the first of them."""
    limit = min(scoring.score_examples or lab.setup.max_examples or MOST_RESCALING, MOST_RESCALING)
    return lab.predictions(scoring.score_split or lab.subject.task.spec.score_split, limit)


def rescaled(model: nn.Module, whole: nn.Module, examples: Predictions, mask: HeadMask) -> dict[str, Any]:
    """Rescale the kept heads of a pruned model in place, and say so for records; see `rescale` for errors.

    `split` and `n_examples`; the mean `loss` of these, `pruned` and `rescaled`; and `factors`, one row a block, with a
    number for each kept head and null for others. A `NotFiniteError` if a loss is NaN or infinite.
    """
    batches, reporter = examples.batches, examples.reporter
    before = _mean_loss(model, batches)
    with reporter.stage("rescaling", len(mask.n_heads) * len(by_row(batches).n_tokens)) as progress:
        fits = rescale(model, whole, batches, progress=progress)
    after = _mean_loss(model, batches)
    if after > before:
        said = f"from {before:.4f} to {after:.4f}"
        reporter.note(f"rescaling raised the loss on {examples.split.name} {said}: better prune without --rescale")
    factors = []
    for block, fitted, keep in zip(attention_blocks(model), fits, mask.keep(), strict=True):
        of = dict(zip(block.original_heads, [1.0] * block.n_heads if fitted is None else fitted.tolist(), strict=True))
        factors.append([of[head] if is_kept else None for head, is_kept in enumerate(keep.tolist())])
    about = {"split": examples.split.name, "n_examples": batches.n_examples}
    return {**about, "loss": {"pruned": before, "rescaled": after}, "factors": factors}


@torch.no_grad()
def _mean_loss(model: nn.Module, batches: Batches) -> float:
    device, total = next(model.parameters()).device, 0.0
    with evaluating(model):
        for batch in batches:
            there = batch.to(device)
            losses = batches.objective.losses(model(**there.inputs), there).cpu().double()
            check_finite(losses.numpy(), batch.index, "losses")
            total += float(losses.sum())
    return total / batches.n_examples
