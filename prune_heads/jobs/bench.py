"""The job of `prune-heads bench`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prune_heads.errors import HeadDescriptorError
from prune_heads.files import new_directory, write_json, write_text
from prune_heads.heads import HeadMask
from prune_heads.importance.baselines import random_scores
from prune_heads.jobs.folder import HEADS_FILE, TABLE_FILE
from prune_heads.jobs.steps import read_scores
from prune_heads.progress import Reporter
from prune_heads.reporting.bench import bench_page
from prune_heads.runs import RECORD_FILE, check_output, record_of
from prune_heads.studies.bench import Bench, bench, original_of
from prune_heads.studies.clock import Clock
from prune_heads.studies.pruning import Choice, going_together
from prune_heads.studies.setup import Setup, identify
from prune_heads.surgery import removed_heads


def timed(
    setup: Setup,
    choice: Choice,
    options: Bench,
    reporter: Reporter,
    *,
    scores: Path | None = None,
    seed: int = 0,
    admit: Callable[[dict[str, Any]], None] = lambda identity: None,
) -> tuple[dict[str, Any], HeadMask]:
    """The record of `prune-heads bench`, and the heads that were removed; arguments and errors as `bench_job`.

    `admit` is called with the run's identity before the long work; it may refuse by raising.
    """
    clock = Clock()
    subject = setup.load(reporter)
    split = setup.load_split(subject, subject.task.spec.eval_splits[0], reporter)
    gone, original = removed_heads(subject.model), original_of(subject)
    together = going_together(original, choice, "remove", reporter)
    by = random_scores(gone.n_heads, seed) if scores is None else read_scores(scores, gone.n_heads)
    mask = choice.mask(gone, by, together)
    if not mask:
        raise HeadDescriptorError(
            "some heads must go, or there is nothing to compare; got none. Name them by --heads, or a larger --fraction"
        )
    configuration = {
        **setup.configuration(),
        **choice.configuration(),
        "heads": mask.descriptors(),
        "batch_sizes": list(options.sizes(len(split.dataset))),
        "length": options.length,
        "runs": options.runs,
    }
    identity = {"configuration": configuration, **identify(subject, [split])}
    admit(identity)
    clock.lap("load")
    found = bench(subject, original, mask, split, options, reporter)
    clock.lap("bench")
    record = record_of(
        "bench",
        identity,
        reporter,
        clock.seconds,
        subject.device,
        task=subject.task.spec.name,
        mode="remove",
        n_heads=mask.n_total,
        n_pruned=len(mask),
        heads_pruned=mask.descriptors(),
        **found,
    )
    return record, mask


def bench_job(
    setup: Setup,
    choice: Choice,
    options: Bench,
    reporter: Reporter,
    *,
    scores: Path | None = None,
    seed: int = 0,
    output: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Time a model against itself without some heads; `output` gets the record, the table and heads.json.

    Args:
        setup: Model, task and conditions; its validation texts are what is run.
        choice: Which heads; those that the model has lost before always.
        options: What is timed.
        reporter: Told about stages and notes.
        scores: A scores.json to choose heads by; None for random ones, unless they are named.
        seed: Of the random choice.
        output: A new folder, or one of an earlier run.
        overwrite: Replace a different run.

    Raises:
        HeadDescriptorError: If no head is to go, so that there is nothing to compare.
        PruneHeadsError: If the sides cannot be had or give different logits, or `output` holds something else.
    """
    admit = partial(check_output, output, overwrite=overwrite)
    record, mask = timed(setup, choice, options, reporter, scores=scores, seed=seed, admit=admit)
    if output is not None:
        with new_directory(output) as folder:
            write_json(folder / RECORD_FILE, record)
            write_json(folder / HEADS_FILE, mask.to_json())
            write_text(folder / TABLE_FILE, bench_page(record, whole=True).to_markdown())
    return record
