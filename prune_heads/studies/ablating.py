"""Mask each head, or all others of its layer, and measure: the paper's tables 1, 2, 3, 5 and 6, and its figure 2."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.ablation import predict_masks
from prune_heads.heads import HeadMask
from prune_heads.objectives.base import Kept, Objective
from prune_heads.options import Ablation, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import Admit, Study, anyone
from prune_heads.statistics import correlate
from prune_heads.studies.measuring import Cells, ablated, check_defined, masks_of, table, warn_if_below_chance
from prune_heads.studies.setup import identify, identify_split, load_split, load_splits, load_subject, predictions_of
from prune_heads.studies.spreading import Spread


# long: one study from its options to its record, a stage a paragraph
def ablate(
    setup: Setup, options: Ablation, reporter: Reporter, *, admit: Admit = anyone, spread: Spread | None = None
) -> dict[str, Any]:
    """The record of `prune-heads ablate`: a table a split, their correlations, and for `only-one` the best heads.

    Args:
        setup: Model, task, conditions and store.
        options: Which ablations, where.
        reporter: Told about stages and notes.
        admit: Called with the run's identity before the long work; it may refuse by raising.
        spread: The cluster that does what takes long; None to do it here.

    Raises:
        PruneHeadsError: See `measure`.
    """
    study, options = Study("ablate", reporter, admit), options.settled(setup.max_examples)
    subject = load_subject(setup, reporter)
    splits = load_splits(setup, subject, options.split, reporter)
    chosen_on = None
    if options.kind == "only-one":
        name = options.choose_split or subject.task.spec.score_split
        if not options.choose_examples:
            same = [split for split in splits if split.name == name]
            chosen_on = same[0] if same else load_split(setup, subject, name, reporter)
        else:
            chosen_on = subject.task.load(name, options.choose_examples, seed=options.seed)
            chosen_on = subject.measurable(chosen_on, reporter)
        if name in [split.name for split in splits]:
            reporter.note(f"only-one: heads are chosen on {name}, which they are tested on too: this flatters them")
    study.begin(
        configuration={**setup.configuration(), **options.configuration()},
        **identify(subject, splits),
        chosen_on=None if chosen_on is None else identify_split(chosen_on),
    )
    every = [predictions_of(setup, subject, split, reporter) for split in splits]
    choosing = next((each for each in every if each.split is chosen_on), None)
    to_choose = []
    if choosing is None and chosen_on is not None:
        choosing = predictions_of(setup, subject, chosen_on, reporter)
        to_choose = [choosing]
    for each in (*every, *to_choose):
        check_defined(each)
    study.lap("load")

    if spread is not None:
        asked = [(each, (each.gone, *masks_of(each, options).values())) for each in (*to_choose, *every)]
        spread.answers(asked, memory=options.memory, compiled=options.compiled)
    chosen = None if choosing is None else ablated(choosing, options)
    found = []
    for each in every:
        found.append(chosen if chosen is not None and each is choosing else ablated(each, options))
        warn_if_below_chance(each, found[-1].kept[each.gone])
    study.lap("ablate")
    tables = [table(options.kind, each, chosen) for each in found]
    correlations = [
        {"first": a["split"], "second": b["split"], **correlate(_flat(a["delta"]), _flat(b["delta"])).to_json()}
        for a, b in combinations(tables, 2)
    ]
    study.lap("statistics")
    flipped = None
    if setup.dtype != "float32" and subject.objective.chooses:
        first = found[0]
        flipped = count_flips(setup, first.split, first.kept, reporter, memory=options.memory)
        study.lap("float32 sample")
    labels = subject.task.spec.labels
    return study.record(
        subject.device,
        task=subject.task.spec.name,
        kind=options.kind,
        headline=every[0].metric,
        labels=None if labels is None else list(labels),
        tables=tables,
        correlations=correlations,
        flips=flipped,
    )


def contract(record: dict[str, Any]) -> dict[str, Any]:
    """What `prune-heads ablate --json` prints: the first split's table, then all of them with what joins them."""
    first = record["tables"][0]
    return {**first, **{name: record[name] for name in ("task", "model", "tables", "correlations", "flips")}}


def _flat(rows: Cells) -> NDArray[np.float64]:
    return np.asarray([value for row in rows for value in row], dtype=np.float64)


FLIP_SAMPLE = 64
"""Examples, the first of the split, on which the two are compared."""


def count_flips(
    setup: Setup, split: str, found: Mapping[HeadMask, Kept], reporter: Reporter, *, memory: int | None = None
) -> dict[str, Any]:
    """How many predictions of the first examples differ from those of float32.

    Args:
        setup: In the reduced precision; of an objective that `chooses`.
        split: Its name.
        found: What is kept in the reduced precision, under each mask.
        reporter: Told about stages and notes.
        memory: MiB of activations a pass; None for the device's default.

    Returns:
        `{"dtype", "split", "n_examples", "n_masks", "n_predictions", "n_flipped"}`.

    Raises:
        PruneHeadsError: See `predict_masks`.
    """
    n = min(FLIP_SAMPLE, *map(len, found.values()))
    exact = replace(setup, dtype="float32")
    subject = load_subject(exact, reporter)
    sample = predictions_of(exact, subject, subject.task.load(split, n), reporter)
    wanted = predict_masks(sample, list(found), memory=memory)
    return {
        "dtype": setup.dtype,
        "split": split,
        "n_examples": n,
        "n_masks": len(found),
        "n_predictions": n * len(found),
        "n_flipped": sum(n_flipped(subject.objective, kept[:n], wanted[mask]) for mask, kept in found.items()),
    }


def n_flipped(objective: Objective, first: Kept, second: Kept) -> int:
    """Examples of which two that are kept predict something else."""
    differs = objective.predictions(first) != objective.predictions(second)
    return int(np.sum(differs if differs.ndim == 1 else differs.any(axis=1)))
