"""The estimators of gate gradients against each other, and against the running sum that a script takes for one."""

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from prune_heads.importance import ESTIMATORS, running_sum
from prune_heads.options import Conditions, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.selection import count_for_fraction, lowest_first, select
from prune_heads.statistics import compare_areas, correlate
from prune_heads.studies.ablating import Measured
from prune_heads.studies.curves import areas, point_of
from prune_heads.studies.scoring import examples_to_score_on, score
from prune_heads.studies.setup import identify, identify_split, load_split, load_subject, predictions_of

RUNNING_SUM = "running sum"
REFERENCE = "example"
"""The estimator of the paper's equation 2, which the others are compared with."""


# long: one study from its options to its record, a stage a paragraph
def compare_estimators(setup: Setup, options: Conditions, reporter: Reporter) -> dict[str, Any]:
    """Scores of all, from one pass of gradients; how they agree, and where pruning by each leads.

    Heads are gated, so the model stays as it is, and what the store knows is not computed again. Scores are not
    normalised. The curves are measured on the task's first split to report on. The batch size of the setup is that of
    the estimator `batch`. Arguments as for `ablate`.

    Raises:
        DataError: If the metric is undefined on the split.
        PruneHeadsError: If the model or the data cannot be loaded, masks are not applied, or numbers are not finite.
    """
    study = Study("estimators", reporter)
    subject = load_subject(setup, reporter)
    split = load_split(setup, subject, subject.task.spec.eval_splits[0], reporter)
    predictions = predictions_of(setup, subject, split, reporter)
    predictions.check_defined()
    scoring = Scoring(score_examples=options.score_examples, seed=options.seed)
    examples = examples_to_score_on(subject, setup, scoring, reporter)
    assert examples is not None
    study.begin(
        configuration={
            **setup.configuration(),
            **{name: getattr(options, name) for name in ("steps", "score_examples", "seed")},
        },
        **identify(subject, [split]),
        scored_on=identify_split(examples.split),
    )
    study.lap("load")
    gradients = score(subject, scoring, examples).gradients
    assert gradients is not None
    gone = predictions.gone
    n_half = max(len(gone), count_for_fraction(gone.n_total, 0.5))
    scores = {name: each.score(gradients, subject.batch_size) for name, each in ESTIMATORS.items()}
    scores[RUNNING_SUM] = running_sum(gradients)
    orders = {name: lowest_first(each, gone, options.steps) for name, each in scores.items()}
    halves = {name: select(each, n_half, gone=gone) for name, each in scores.items()}
    study.lap("score")
    masks = [mask for name in scores for mask in (*orders[name], halves[name])]
    measured = Measured(predictions, masks, options.seed)
    predictions.warn_if_below_chance(measured.kept[gone])
    study.lap("evaluate")
    lines = []
    for name, order in orders.items():
        points = [point_of(measured, mask, step, options.steps) for step, mask in enumerate(order)]
        first, second = ([measured.answers(mask) for mask in masks] for masks in (orders[REFERENCE], order))
        counts, half = [len(mask) for mask in order], halves[name]
        difference = compare_areas(
            predictions.measure, counts, first, second, predictions.references, seed=options.seed
        )
        lines.append(
            {
                "estimator": name,
                "scores": scores[name].to_json()["scores"],
                "area": areas(points)[split.name],
                "area_difference": asdict(difference),
                "half": {"n_pruned": len(half), "value": measured.value(half), "heads_pruned": half.descriptors()},
                "points": points,
            }
        )
    there = np.concatenate(gone.keep())
    pairs = []
    for a, b in combinations(scores, 2):
        agreement = correlate(scores[a].flat()[there], scores[b].flat()[there])
        chosen, also = (halves[name].pruned - gone.pruned for name in (a, b))
        overlap = len(chosen & also) / len(chosen) if chosen else None
        pairs.append({"first": a, "second": b, **agreement, "overlap": overlap})
    study.lap("statistics")
    return study.record(
        subject.device,
        task=subject.task.spec.name,
        headline=predictions.metric,
        reads_one_token=gradients.reads_one_token,
        chance_overlap=(n_half - len(gone)) / max(1, gone.n_total - len(gone)),
        lines=lines,
        pairs=pairs,
    )
