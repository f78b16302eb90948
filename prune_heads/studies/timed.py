"""The record of `prune-heads bench`: which heads go, and what that gains."""

from typing import Any

from prune_heads.errors import HeadDescriptorError
from prune_heads.heads import HeadMask
from prune_heads.importance.criteria import random_scores
from prune_heads.options import Bench, Choice, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import Admit, Study, anyone
from prune_heads.studies.bench import bench, original_of
from prune_heads.studies.pruning import chosen, going_together
from prune_heads.studies.setup import identify, load_split, load_subject
from prune_heads.studies.steps import read_scores
from prune_heads.surgery import removed_heads


def time_heads(
    setup: Setup,
    choice: Choice,
    options: Bench,
    reporter: Reporter,
    *,
    admit: Admit = anyone,
) -> tuple[dict[str, Any], HeadMask]:
    """The record of `prune-heads bench`, and the heads that were removed.

    Args:
        setup: Model, task and conditions; its validation texts are what is run.
        choice: Which heads; those that the model has lost before always.
        options: What is timed, and by what heads are chosen.
        reporter: Told about stages and notes.
        admit: Called with the run's identity before the long work; it may refuse by raising.

    Raises:
        HeadDescriptorError: If no head is to go, so that there is nothing to compare.
        PruneHeadsError: If the sides cannot be had, or give different logits.
    """
    study = Study("bench", reporter, admit)
    subject = load_subject(setup, reporter)
    split = load_split(setup, subject, subject.task.spec.eval_splits[0], reporter)
    gone, original = removed_heads(subject.model), original_of(subject)
    together = going_together(original, choice, "remove", reporter)
    by = (
        random_scores(gone.n_heads, options.seed)
        if options.scores is None
        else read_scores(options.scores, gone.n_heads)
    )
    mask = chosen(choice, gone, by, together)
    if not mask:
        raise HeadDescriptorError(
            "some heads must go, or there is nothing to compare; got none. Name them by --heads, or a larger --fraction"
        )
    study.begin(
        configuration={
            **setup.configuration(),
            **choice.configuration(),
            "heads": mask.descriptors(),
            **options.configuration(),
            "batch_sizes": list(options.sizes(len(split))),
        },
        **identify(subject, [split]),
    )
    study.lap("load")
    found = bench(subject, original, mask, split, options, reporter)
    study.lap("bench")
    record = study.record(
        subject.device,
        task=subject.task.spec.name,
        mode="remove",
        n_heads=mask.n_total,
        n_pruned=len(mask),
        heads_pruned=mask.descriptors(),
        **found,
    )
    return record, mask
