"""Evaluate a model on a split with some heads masked, or with some and with others."""

from dataclasses import asdict
from typing import Any

import numpy as np

from prune_heads.ablation import predict_masks
from prune_heads.coverage.mixing import mixers
from prune_heads.heads import HeadMask
from prune_heads.predictions import Predictions
from prune_heads.statistics import compare_paired, metric_interval
from prune_heads.studies.measuring import warn_if_below_chance


def evaluate(predictions: Predictions, mask: HeadMask, seed: int = 0) -> dict[str, Any]:
    """The JSON contract of `prune-heads evaluate`; logits that the store has are not computed again.

    The intervals are those of 95% by the bootstrap, whose seed is `seed`.

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
    metrics, answers = predictions.metrics(logits), predictions.answers(logits)
    return {
        "task": subject.task.spec.name,
        "split": split.name,
        "n_examples": len(split),
        "metrics": metrics,
        "intervals": {
            name: list(metric_interval(measure, answers, predictions.references, seed=seed))
            for name, measure in predictions.objective.measures.items()
        },
        "heads_pruned": mask.descriptors(),
        "n_heads": mask.n_total,
    }


def compare(predictions: Predictions, first: HeadMask, second: HeadMask, seed: int = 0) -> dict[str, Any]:
    """Each metric under two masks: what the second does beside the first, with its interval and a paired test.

    Raises: as `evaluate`.
    """
    subject, split = predictions.subject, predictions.split
    found = predict_masks(predictions, [first, second])
    before, after = (found[mask | predictions.gone] for mask in (first, second))
    values = predictions.metrics(before), predictions.metrics(after)
    first_answers, second_answers = predictions.answers(before), predictions.answers(after)
    rows = []
    for name, measure in predictions.objective.measures.items():
        test = asdict(
            compare_paired(measure, first_answers, second_answers, predictions.references, seed=seed)
        )
        row = {"metric": name, "first": values[0][name], "second": values[1][name]}
        rows.append({**row, "difference": test.pop("value"), **test})
    return {
        "task": subject.task.spec.name,
        "split": split.name,
        "n_examples": len(split),
        "first": first.descriptors(),
        "second": second.descriptors(),
        "rows": rows,
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
