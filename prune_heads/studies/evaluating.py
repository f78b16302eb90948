"""Evaluate a model on a split with some heads masked."""

from typing import Any

import numpy as np

from prune_heads.coverage.mixing import mixers
from prune_heads.heads import HeadMask
from prune_heads.predictions import Predictions
from prune_heads.studies.majority import warn_if_below_chance


def evaluate(predictions: Predictions, mask: HeadMask) -> dict[str, Any]:
    """The JSON contract of `prune-heads evaluate`; logits that the store has are not computed again.

    Raises:
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit is NaN or infinite.
        PruneHeadsError: If the store cannot be written.
    """
    subject, split, reporter = predictions.subject, predictions.split, predictions.reporter
    subject.prove_gates(predictions.batches)
    note_without_heads(predictions, mask)
    with reporter.stage("evaluating", predictions.batches.n_examples) as progress:
        logits = predictions.of(mask, progress)
    if not mask:
        warn_if_below_chance(predictions, logits)
    return {
        "task": subject.task.spec.name,
        "split": split.name,
        "n_examples": len(split.dataset),
        "metrics": predictions.metrics(logits),
        "heads_pruned": mask.descriptors(),
        "n_heads": mask.n_total,
    }


def note_without_heads(predictions: Predictions, mask: HeadMask) -> None:
    """Say that all heads are pruned, where they are, and what that means for this model, tried on its first text."""
    if len(mask) < mask.n_total:
        return
    subject = predictions.subject
    text = predictions.batches.batch(np.arange(1)).to(subject.device)
    others = mixers(subject.model, text.inputs)
    said = "all heads are pruned"
    if others:
        said += f"; tokens still see each other in {', '.join(others)}, which have no heads here"
    elif others is not None:
        said += ": no token sees another any more"
    predictions.reporter.note(said)
