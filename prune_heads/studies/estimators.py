"""The estimators of gate gradients against each other, and against the running sum that a script takes for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from prune_heads.ablation import predict_masks
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import ESTIMATORS, GateGradients, running_sum
from prune_heads.options import Comparison, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import Admit, Study, anyone
from prune_heads.selection import count_for_fraction, lowest_first, select
from prune_heads.statistics import compare_areas, correlate, shares_pruned
from prune_heads.studies.curves import areas
from prune_heads.studies.measuring import Measured, check_defined, warn_if_below_chance
from prune_heads.studies.scoring import examples_to_score_on, score
from prune_heads.studies.setup import identify, identify_split, load_split, load_subject, predictions_of

RUNNING_SUM = "running sum"
REFERENCE = "example"
"""The estimator of the paper's equation 2, which the others are compared with."""


@dataclass(frozen=True)
class _Ordered:
    """The heads in the order of one of the scores."""

    scores: HeadScores
    masks: Sequence[HeadMask]
    """At each step of the curve."""
    half: HeadMask
    """With half of the heads gone."""


# long: one study from its options to its record, a stage a paragraph
def compare_estimators(
    setup: Setup, options: Comparison, reporter: Reporter, *, admit: Admit = anyone
) -> dict[str, Any]:
    """Scores of all, from one pass of gradients; how they agree, and where pruning by each leads.

    Heads are gated, so the model stays as it is, and what the store knows is not computed again.

    Args:
        setup: Model, task, conditions and store. Its batch size is that of the estimator `batch`.
        options: How many examples and steps. The curves are measured on the task's first split to report on.
        reporter: Told about stages and notes.
        admit: Called with the run's identity before the long work; it may refuse by raising.

    Raises:
        DataError: If the metric is undefined on the split.
        PruneHeadsError: If the model or the data cannot be loaded, masks are not applied, or numbers are not finite.
    """
    study = Study("estimators", reporter, admit)
    subject = load_subject(setup, reporter)
    split = load_split(setup, subject, subject.task.spec.eval_splits[0], reporter)
    predictions = predictions_of(setup, subject, split, reporter)
    check_defined(predictions)
    scoring = Scoring(score_examples=options.score_examples, seed=options.seed)
    examples = examples_to_score_on(subject, setup, scoring, reporter)
    assert examples is not None
    study.begin(
        configuration={**setup.configuration(), **options.configuration()},
        **identify(subject, [split]),
        scored_on=identify_split(examples.split),
    )
    study.lap("load")
    gradients = score(subject, scoring, examples).gradients
    assert gradients is not None
    gone = predictions.gone
    n_half = max(len(gone), count_for_fraction(gone.n_total, 0.5))
    orders = {
        name: _Ordered(scores, lowest_first(scores, gone, options.steps), select(scores, n_half, gone=gone))
        for name, scores in all_scores(gradients, subject.batch_size).items()
    }
    study.lap("score")
    masks = [mask for order in orders.values() for mask in (*order.masks, order.half)]
    measured = Measured(predictions, predict_masks(predictions, masks), options.seed)
    warn_if_below_chance(predictions, measured.kept[gone])
    study.lap("evaluate")
    lines = [_line(name, orders, measured, options) for name in orders]
    pairs = [_pair(a, b, orders, gone) for a, b in combinations(orders, 2)]
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


def all_scores(gradients: GateGradients, batch_size: int) -> Mapping[str, HeadScores]:
    """By every estimator, and by `RUNNING_SUM`; none normalised."""
    scores = {name: each.score(gradients, batch_size) for name, each in ESTIMATORS.items()}
    return {**scores, RUNNING_SUM: running_sum(gradients)}


def _line(name: str, orders: Mapping[str, _Ordered], measured: Measured, options: Comparison) -> dict[str, Any]:
    """One of the scores: its curve, the area under it, and the metric with half of the heads."""
    order = orders[name]
    points = [
        {
            "split": measured.split,
            "percent": 100 * step / options.steps,
            "n_pruned": len(mask),
            "value": measured.value(mask),
            "heads_pruned": mask.descriptors(),
        }
        for step, mask in enumerate(order.masks)
    ]
    predictions = measured.predictions
    difference = compare_areas(
        predictions.measure,
        shares_pruned([len(mask) for mask in order.masks]).tolist(),
        [measured.answers(mask) for mask in orders[REFERENCE].masks],
        [measured.answers(mask) for mask in order.masks],
        predictions.references,
        seed=options.seed,
    )
    return {
        "estimator": name,
        "scores": order.scores.to_json()["scores"],
        "area": areas(points)[measured.split],
        "area_difference": {"value": difference.value, "low": difference.low, "high": difference.high},
        "half": {
            "n_pruned": len(order.half),
            "value": measured.value(order.half),
            "heads_pruned": order.half.descriptors(),
        },
        "points": points,
    }


def _pair(first: str, second: str, orders: Mapping[str, _Ordered], gone: HeadMask) -> dict[str, Any]:
    """How two of the scores agree, over the heads that the model has."""
    there = np.concatenate(gone.keep())
    a, b = orders[first], orders[second]
    correlation = correlate(a.scores.flat()[there], b.scores.flat()[there])
    chosen = a.half.pruned - gone.pruned
    return {
        "first": first,
        "second": second,
        **correlation.to_json(),
        "overlap": len(chosen & b.half.pruned) / len(chosen) if chosen else None,
    }
