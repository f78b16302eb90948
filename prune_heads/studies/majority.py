"""A base metric that a constant answer would beat is most often a mistake, and is noted."""

import numpy as np

from prune_heads.evaluation import Logits, Subject, references
from prune_heads.progress import Reporter
from prune_heads.tasks.spec import headline
from prune_heads.tasks.task import Split


def warn_if_below_majority(subject: Subject, split: Split, base: Logits, reporter: Reporter) -> None:
    """A base score under the majority class most often means that labels are swapped, or tokens are."""
    name = headline(subject.task.spec.metric)
    if len(split.dataset) > 1 and subject.task.spec.kind == "labelled" and np.ptp(references(split)) == 0:
        reporter.note(
            f"{split.name}: all {len(split.dataset)} examples have the same label, which says little of a model; "
            "files are often sorted by label: --sample N draws examples at random"
        )
        return
    score, majority = subject.metrics(base, split)[name], subject.majority(split)
    if score < majority and subject.classifier.objective is not None:
        reporter.note(
            f"{split.name}: the base {name} {score:.4f} is below that of finding all tokens equally likely "
            f"({majority:.4f}): check that the tokenizer is the model's own and that the model is trained"
        )
    elif score < majority:
        reporter.note(
            f"{split.name}: the base {name} {score:.4f} is below that of always giving the most frequent answer "
            f"({majority:.4f}): check the labels (--label-order) and that the checkpoint is for this task"
        )
