"""Evaluate a model on a split with some heads masked."""

from typing import Any

from prune_heads.evaluation import warn_if_below_majority
from prune_heads.heads import HeadMask
from prune_heads.predictions import Predictions


def evaluate(predictions: Predictions, mask: HeadMask) -> dict[str, Any]:
    """The JSON contract of `prune-heads evaluate`; logits that the store has are not computed again.

    Raises:
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit is NaN or infinite.
        PruneHeadsError: If the store cannot be written.
    """
    subject, split, reporter = predictions.subject, predictions.split, predictions.reporter
    subject.prove_gates(predictions.batches)
    if len(mask) == mask.n_total:
        reporter.note("all heads are pruned: no token sees another any more")
    with reporter.stage("evaluating", predictions.batches.n_examples) as progress:
        logits = predictions.of(mask, progress)
    if not mask:
        warn_if_below_majority(subject, split, logits, reporter)
    return {
        "task": subject.task.spec.name,
        "split": split.name,
        "n_examples": len(split.dataset),
        "metrics": subject.metrics(logits, split),
        "heads_pruned": mask.descriptors(),
        "n_heads": mask.n_total,
    }
