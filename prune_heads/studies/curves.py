"""Several criteria on one task: the metric as heads go in each one's order (paper, figure 3)."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from prune_heads.ablation import predict_masks
from prune_heads.descriptors import named_blocks
from prune_heads.errors import HeadDescriptorError
from prune_heads.evaluation import Subject
from prune_heads.heads import HeadMask
from prune_heads.importance import criterion_of
from prune_heads.options import Curves, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import FORMATS, Admit, Study, anyone
from prune_heads.statistics import area_under_curve, correlate, shares_pruned
from prune_heads.studies.measuring import Measured, check_defined, warn_if_below_chance
from prune_heads.studies.orders import Order, order_of
from prune_heads.studies.scoring import examples_to_score_on, note_oracle
from prune_heads.studies.setup import identify, identify_split, load_splits, load_subject, predictions_of

_BAND = (0.025, 0.975)
"""What several draws are summed up by: 95% of them."""


def among(options: Curves, gone: HeadMask) -> HeadMask:
    """The heads that may go, of a model that has lost some.

    Raises:
        HeadDescriptorError: If a block is not there, or no head is left in them.
    """
    every = HeadMask.all(gone.n_heads)
    if options.blocks is None:
        return every
    blocks = named_blocks(options.blocks, gone.n_heads)
    found = HeadMask(gone.n_heads, frozenset(head for head in every if head[0] in blocks))
    if found <= gone:
        raise HeadDescriptorError(
            f"--blocks {','.join(options.blocks)} must have heads left to prune; all of theirs were removed before. "
            "Name others, or take a checkpoint that has heads"
        )
    return found


# long: one study from its options to its record, a stage a paragraph
def curves(setup: Setup, options: Curves, reporter: Reporter, *, admit: Admit = anyone) -> dict[str, Any]:
    """The record of `prune-heads curve`: a line a criterion, and how their scores agree.

    Heads are gated, so the model stays as it is, and what the store knows is not computed again.

    Args:
        setup: Model, task, conditions and store.
        options: Which criteria, where.
        reporter: Told about stages and notes.
        admit: Called with the run's identity before the long work; it may refuse by raising.

    Raises:
        DataError: If the metric is undefined on a split.
        HeadDescriptorError: If a block is not there, or no head is left in them.
        PruneHeadsError: If anything that the curves need cannot be had, or a mask is not applied.
    """
    for name in options.criterion:
        criterion_of(name)  # one's own that does not fit is refused before all else
    study = Study("curve", reporter, admit)
    subject = load_subject(setup, reporter)
    splits = load_splits(setup, subject, options.split, reporter)
    every = [predictions_of(setup, subject, split, reporter) for split in splits]
    going = among(options, every[0].gone)
    examples = _examples(subject, setup, options, every, reporter)
    study.begin(
        configuration={**setup.configuration(), **options.configuration(), **_own_criteria(options)},
        **identify(subject, splits),
        scored_on={name: identify_split(each.split) for name, each in examples.items()},
    )
    for each in every:
        check_defined(each)
    study.lap("load")
    orders = [
        order_of(
            subject,
            options.by(name),
            examples.get(name),
            n_steps=options.steps,
            n_draws=options.draws,
            rescore=options.rescore,
            among=going,
        )
        for name in options.criterion
    ]
    study.lap("score")
    masks = [mask for order in orders for draw in order.draws for mask in draw]
    measured = []
    for each in every:
        measured.append(Measured(each, predict_masks(each, masks), options.seed))
        warn_if_below_chance(each, measured[-1].kept[each.gone])
    study.lap("evaluate")
    lines = [line_of(order, measured, options.steps) for order in orders]
    study.lap("statistics")
    return study.record(
        subject.device,
        task=subject.task.spec.name,
        headline=every[0].metric,
        lines=lines,
        correlations=_correlations(orders, going - every[0].gone),
    )


def _own_criteria(options: Curves) -> dict[str, Any]:
    """For records: the names and sources of criteria of one's own; nothing where all are of the table."""
    rows = [criterion_of(name) for name in options.criterion]
    names = [row.name or name for row, name in zip(rows, options.criterion, strict=True)]
    own = {row.name: row.source for row in rows if row.name}
    return {"criteria": names, "criterion_source": own} if own else {}


def line_of(order: Order, measured: Sequence[Measured], n_steps: int) -> dict[str, Any]:
    """One criterion's curve on every split."""
    points = [
        {"split": each.split, "percent": _percent(step, n_steps), **_point(each, masks)}
        for step, masks in enumerate(zip(*order.draws, strict=True))
        for each in measured
    ]
    return {
        "criterion": order.criterion,
        "estimator": order.estimator,
        "rescored": order.rescored,
        "n_draws": len(order.draws),
        "scored_on": order.scored_on,
        "scores": None if len(order.draws) > 1 else order.scores.to_json()["scores"],
        "areas": areas(points),
        "points": points,
    }


def areas(points: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Split -> area under its points; of several draws that of their means, which is the mean of their areas."""
    found = {}
    for split in dict.fromkeys(point["split"] for point in points):
        own = [point for point in points if point["split"] == split]
        shares = shares_pruned([point["n_pruned"] for point in own])
        found[split] = area_under_curve(shares, [point["value"] for point in own])
    return found


def renewed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of format 1, whose areas are over the percent that was asked for, in today's."""
    lines = [{**line, "areas": areas(line["points"])} for line in record["lines"]]
    return {**record, "format": FORMATS["curve"], "lines": lines}


def _point(measured: Measured, masks: Sequence[HeadMask]) -> dict[str, Any]:
    """A single draw with the interval of its metric, or the mean of several and where 95% of them lie."""
    values = [measured.value(mask) for mask in masks]
    if len(masks) == 1:
        low, high = measured.interval(masks[0])
    else:
        low, high = np.quantile(values, _BAND).tolist()
    return {
        "n_pruned": len(masks[0]),
        "value": statistics.mean(values),  # exact: of equal numbers it is the number
        "low": low,
        "high": high,
        "heads_pruned": masks[0].descriptors() if len(masks) == 1 else None,
    }


def _percent(step: int, n_steps: int) -> int | float:
    percent = 100 * step / n_steps
    return int(percent) if percent.is_integer() else percent


def _correlations(orders: Sequence[Order], asked: HeadMask) -> list[dict[str, Any]]:
    """How the scores of each two criteria agree, over the heads that can go; a random one agrees with none."""
    there = ~np.concatenate(asked.keep())
    scored = [order for order in orders if order.criterion != "random"]
    return [
        {
            "first": a.criterion,
            "second": b.criterion,
            **correlate(a.scores.flat()[there], b.scores.flat()[there]).to_json(),
        }
        for a, b in combinations(scored, 2)
    ]


def _examples(
    subject: Subject, setup: Setup, options: Curves, every: Sequence[Predictions], reporter: Reporter
) -> dict[str, Predictions]:
    """Criterion -> what it is scored on, for those that look at data.

    Ablations are an oracle unless they are asked to look elsewhere: they are measured where the curve begins.
    """
    needing = [name for name in options.criterion if criterion_of(name).needs_data]
    oracles = [n for n in needing if criterion_of(n).looks_at == "answers" and options.score_split is None]
    found = dict.fromkeys(oracles, every[0])
    if others := [name for name in needing if name not in oracles]:
        shared = examples_to_score_on(subject, setup, options.by(others[0]), reporter)
        found |= {name: shared for name in others if shared is not None}
    for name, each in found.items():
        note_oracle(name, each.split, [one.split for one in every], reporter)
    return found
