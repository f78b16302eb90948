"""Evaluate a model on a split with some heads masked."""

from typing import Any

from prune_heads.evaluation import Subject, predict, warn_if_below_majority
from prune_heads.gating import gates_of
from prune_heads.heads import HeadMask
from prune_heads.progress import Reporter
from prune_heads.tasks.task import Split


def evaluate(subject: Subject, split: Split, mask: HeadMask, reporter: Reporter) -> dict[str, Any]:
    """The JSON contract of `prune-heads evaluate`.

    Raises:
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit is NaN or infinite.
    """
    batches = subject.batches(split)
    subject.prove_gates(batches)
    if len(mask) == mask.n_total:
        reporter.note("all heads are pruned: no token sees another any more")
    with reporter.stage("evaluating", batches.n_examples) as progress:
        logits = predict(subject.model, batches, gates_of(subject.model, mask), progress=progress)
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
