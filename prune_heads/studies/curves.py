"""The metric as heads go: in the orders of several criteria on one task (paper, figure 3), or of all estimators.

The estimators of gate gradients are compared with each other, and with the running sum that a script takes for one.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from itertools import combinations
from typing import Any

import numpy as np

from prune_heads.errors import OptionError
from prune_heads.evaluation import Subject
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import ESTIMATORS, Examples, criterion_of, running_sum
from prune_heads.options import Curves, Scoring, Setup
from prune_heads.options.studies import Conditions
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import FORMATS, Study
from prune_heads.selection import alone, count_for_fraction, lowest_first, select, step_counts
from prune_heads.statistics import area_under_curve, compare_areas, correlate
from prune_heads.statistics.margins import kept_up_to
from prune_heads.studies.ablating import among
from prune_heads.studies.measuring import Measured
from prune_heads.studies.repeated import areas_sampled, check_units, enough_of, samples_of
from prune_heads.studies.scoring import Lab, given, names_of_own, note_oracle, score
from prune_heads.studies.setup import costs_of, identify, identify_split
from prune_heads.surgery import removed_heads

RUNNING_SUM = "running sum"
REFERENCE = "example"  # the estimator of the paper's equation 2, which the others are compared with
_BAND = (0.025, 0.975)  # what several draws are summed up by: 95% of them

Order = tuple[dict[str, Any], HeadScores, Sequence[Sequence[HeadMask]]]
"""What records say of how heads are put in order (`criterion`, `estimator`, `scored_on`, `rescored`), the scores of all
heads before any is pruned, and the masks at each step of the curve: of one draw, but for the criterion `random`."""


# long: one study from its options to its record, a stage a paragraph
def curves(setup: Setup, options: Curves, reporter: Reporter) -> dict[str, Any]:
    """The record of `prune-heads curve`: a line a criterion, and how their scores agree.

    Heads are gated, so the model stays as it is, and what the store knows is not computed again. Ablations are an
    oracle unless they are asked to look elsewhere: they are measured where the curve begins.

    Raises:
        DataError: If the metric is undefined on a split.
        HeadDescriptorError: If a block is not there, or no head is left in them.
        UnfitError: If there are too few examples for scoring samples.
        PruneHeadsError: If anything that the curves need cannot be had, or a mask is not applied.
    """
    rows = {name: criterion_of(name) for name in options.criterion}  # one's own that does not fit is refused first
    study, lab = Study("curve", reporter), Lab(setup, reporter)
    lab.scoring = options.by("gradient")
    if "random" in rows and options.draws < (options.score_samples or 0):
        raise OptionError(f"--draws must be as many as --score-samples ({options.score_samples}); got {options.draws}")
    of_zeroed = any(row.needs_data and row.looks_at != "answers" for row in rows.values())
    if options.rescore and of_zeroed and setup.replace != "zero":
        must = f"--rescore with --replace {setup.replace} must be by the criterion ablation"
        raise OptionError(f"{must}: others look at a model whose heads are zeroed. Leave one of the two out")
    subject, every = lab.subject, lab.reported(options.split)
    splits, going = [each.split for each in every], among(options.blocks, every[0].gone)
    examples = dict[str, Predictions]()
    for name, row in rows.items():
        is_oracle = row.looks_at == "answers" and options.score_split is None
        if found := every[0] if is_oracle else lab.examples(options.by(name)):
            examples[name] = found
            note_oracle(name, found.split, splits, reporter)
    said, own = names_of_own(rows)
    scored_on = {name: identify_split(each.split) for name, each in examples.items()}
    study.begin(setup, options, own, **lab.identify(splits), scored_on=scored_on)
    for each in every:
        each.check_defined()
    if options.score_samples:
        check_units("scoring samples and what is measured", (*examples.values(), *every), ". Leave --score-samples out")
    look = cache(partial(given, subject, lab.scoring))  # what one criterion computes, others need not
    seen = {name: look(each) for name, each in examples.items()}
    rank = partial(order_of, subject, options, going=going)
    ranked = [rank(name, seen.get(name)) for name in rows]
    orders = [({**a, "criterion": said[name]}, s, draws) for name, (a, s, draws) in zip(rows, ranked, strict=True)]
    is_disjoint, samples = True, dict[str, list[Predictions]]()
    if n_samples := options.score_samples:
        is_disjoint, samples = samples_of(examples, lab, n_samples, options.seed)
    sampled = {said[n]: [rank(n, look(each))[2][0] for each in parts] for n, parts in samples.items()}
    study.lap("score")
    masks = [mask for _, _, draws in orders for draw in draws for mask in draw]
    others = [mask for of in sampled.values() for sample in of for mask in sample]
    measured, on_few = list[Measured](), list[Measured]()
    for each in every:
        few = enough_of(each, lab, options.seed) if n_samples else each
        measured.append(Measured(each, masks + others if few is each else masks, options.seed))
        on_few.append(measured[-1] if few is each else Measured(few, masks + others, options.seed))
    study.lap("evaluate")
    lines = [line_of(order, measured, options.steps) for order in orders]
    if (margin := options.margin) is not None:
        for line, (_, _, draws) in zip(lines, orders, strict=True):
            every_split = measured if len(draws) == 1 else ()
            line["kept"] = [kept_of(draws[0], each, margin, options.seed) for each in every_split]
    of_samples: dict[str, Any] = {}
    if n_samples:
        sizes = {said[name]: [len(each.split) for each in parts] for name, parts in samples.items()}
        measured_on = [len(each.predictions.split) for each in on_few]
        of_samples["score_samples"] = {"disjoint": is_disjoint, "n_examples": sizes, "measured_on": measured_on}
        how = {"n": n_samples, "seed": options.seed, "is_disjoint": is_disjoint}
        draws_of = {about["criterion"]: draws for about, _, draws in orders}
        of_samples["sampled_areas"] = [row for on in on_few for row in areas_sampled(draws_of, sampled, on, **how)]
    study.lap("statistics")
    there = ~np.concatenate((going - every[0].gone).keep())
    scored = [(about["criterion"], s.flat()[there]) for about, s, _ in orders if about["criterion"] != "random"]
    agree = [{"first": a, "second": b, **correlate(x, y)} for (a, x), (b, y) in combinations(scored, 2)]
    about = {"task": subject.task.spec.name, "headline": every[0].measure.name, "costs": costs_of(subject.classifier)}
    flips = {"flips": [found for each in every for found in each.corrections]} if setup.dtype == "mixed" else {}
    return study.record(subject.device, **about, **flips, **of_samples, lines=lines, correlations=agree)


def order_of(subject: Subject, options: Curves, criterion: str, asked: Examples | None, going: HeadMask) -> Order:
    """Score the heads and put them in order, lowest score first; heads that are gone go first of all.

    To score again is to do so at every step, with the heads masked that went before, as the authors' exact mode does. A
    head that has gone stays so. Criteria that look at no data say the same of a head whatever the others do; they are
    asked once. The criterion `random` draws with the seeds `options.seed`, `options.seed + 1`, ... Of all heads only
    those of `going` may go. A `PruneHeadsError` as of `score`.
    """
    scoring, n_steps, examples = options.by(criterion), options.steps, None if asked is None else asked.given
    gone, scored = removed_heads(subject.model), score(subject, scoring, examples, asked=asked)
    scores = scored.scores
    if rescored := options.rescore and examples is not None:
        masks, counts = [gone], step_counts(gone, n_steps, going)
        for n in counts[1:]:
            before = masks[-1]
            if before != gone and len(before) < n < counts[-1]:
                scores = score(subject, scoring, examples, masked=before).scores
            masks.append(select(scores, n, gone=before, units=alone(going)))
        draws = [masks]
    else:
        others = range(1, options.draws if criterion == "random" else 1)
        drawn = [score(subject, replace(scoring, seed=scoring.seed + i)).scores for i in others]
        draws = [lowest_first(each, gone, n_steps, among=going) for each in (scores, *drawn)]
    about = {name: scored.about[name] for name in ("criterion", "estimator")}
    return {**about, "rescored": rescored, "scored_on": scored.about["split"]}, scored.scores, draws


def line_of(order: Order, measured: Sequence[Measured], n_steps: int) -> dict[str, Any]:
    """One criterion's curve on every split: a single draw with intervals, or the mean of several and their band."""
    about, scores, draws = order
    is_one, points = len(draws) == 1, list[dict[str, Any]]()
    for step, masks in enumerate(zip(*draws, strict=True)):
        percent = 100 * step // n_steps if 100 * step % n_steps == 0 else 100 * step / n_steps
        for each in measured:
            values = [each.value(mask) for mask in masks]
            low, high = each.interval(masks[0]) if is_one else np.quantile(values, _BAND).tolist()
            point: dict[str, Any] = {"split": each.predictions.split.name, "percent": percent}
            point["n_pruned"] = len(masks[0])
            point["value"] = statistics.mean(values)  # exact: of equal numbers it is the number
            pruned = masks[0].descriptors() if is_one else None
            found = each.responses(masks)
            mean = None if found is None else float(found.mean(dtype=np.float64))
            base = each.answers(each.predictions.gone) if is_one else None
            changed = None if base is None else each.predictions.changed(base, each.answers(masks[0]))
            point |= {"heads_pruned": pruned, "low": low, "high": high}
            points.append({**point, **each.predictions.told(mean), "changed": changed})
    shown = scores.to_json()["scores"] if is_one else None
    return {**about, "n_draws": len(draws), "scores": shown, "areas": areas(points), "points": points}


def kept_of(masks: Sequence[HeadMask], measured: Measured, margin: float, seed: int) -> dict[str, Any]:
    """How many heads may go for a loss below the margin: tested from few to many, up to the first that is not shown.

    Returns:
        `split`, `margin`; `n_kept`: heads that are gone at the last point for which it is shown, None for not even the
        first; `n_lost`: at the first point where more is lost, None where it is nowhere; `points`, one a mask, as
        `Predictions.kept_within` gives them.
    """
    predictions = measured.predictions
    base = measured.answers(predictions.gone)
    points = [predictions.kept_within(margin, base, measured.answers(mask), seed) for mask in masks]
    shown, lost = kept_up_to([point["verdict"] for point in points])
    about = {"split": predictions.split.name, "margin": margin, "n_kept": len(masks[shown - 1]) if shown else None}
    return {**about, "n_lost": len(masks[lost]) if lost < len(masks) else None, "points": points}


def areas(points: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Split -> area under its points; of several draws that of their means, which is the mean of their areas."""
    found = {}
    for split in dict.fromkeys(point["split"] for point in points):
        own = [point for point in points if point["split"] == split]
        found[split] = area_under_curve([point["n_pruned"] for point in own], [point["value"] for point in own])
    return found


def renewed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of format 1, whose areas are over the percent that was asked for, in today's."""
    lines = [{**line, "areas": areas(line["points"])} for line in record["lines"]]
    return {**record, "format": FORMATS["curve"], "lines": lines}


# long: one study from its options to its record, a stage a paragraph
def compare_estimators(setup: Setup, options: Conditions, reporter: Reporter) -> dict[str, Any]:
    """Scores of all, from one pass of gradients; how they agree, and where pruning by each leads.

    Heads are gated, so the model stays as it is, and what the store knows is not computed again. Scores are not
    normalised. The curves are measured on the task's first split to report on. The batch size of the setup is that of
    the estimator `batch`. A `DataError` if the metric is undefined on the split; a `PruneHeadsError` if the model or
    the data cannot be loaded, masks are not applied, or numbers are not finite.
    """
    study, lab = Study("estimators", reporter), Lab(setup, reporter)
    subject = lab.subject
    predictions = lab.predictions(subject.task.spec.eval_splits[0])
    split = predictions.split
    predictions.check_defined()
    scoring = Scoring(score_examples=options.score_examples, seed=options.seed)
    examples = lab.examples(scoring)
    assert examples is not None
    asked = {name: getattr(options, name) for name in ("steps", "score_examples", "seed")}
    study.begin(setup, asked, **identify(subject, [split]), scored_on=identify_split(examples.split))
    gradients = score(subject, scoring, examples).gradients
    assert gradients is not None
    gone = predictions.gone
    n_half = max(len(gone), count_for_fraction(gone.n_total, 0.5))
    scores = {name: each.score(gradients, subject.batch_size) for name, each in ESTIMATORS.items()}
    scores[RUNNING_SUM] = running_sum(gradients)
    orders = {name: lowest_first(each, gone, options.steps) for name, each in scores.items()}
    halves = {name: select(each, n_half, gone=gone) for name, each in scores.items()}
    study.lap("score")
    measured = Measured(predictions, [m for name in scores for m in (*orders[name], halves[name])], options.seed)
    study.lap("evaluate")
    lines = []
    for name, order in orders.items():
        line = line_of(({}, scores[name], [order]), [measured], options.steps)
        counts, half = [len(mask) for mask in order], halves[name]
        first, second = ([measured.answers(mask) for mask in masks] for masks in (orders[REFERENCE], order))
        how: dict[str, Any] = {"seed": options.seed, "groups": predictions.groups}
        difference = compare_areas(predictions.measure, counts, first, second, predictions.references, **how)
        at_half = {"n_pruned": len(half), "value": measured.value(half), "heads_pruned": half.descriptors()}
        about = {"estimator": name, "scores": line["scores"], "area": line["areas"][split.name], "half": at_half}
        lines.append({**about, "area_difference": asdict(difference), "points": line["points"]})
    there = np.concatenate(gone.keep())
    pairs = []
    for a, b in combinations(scores, 2):
        agreement = correlate(scores[a].flat()[there], scores[b].flat()[there])
        chosen, also = (halves[name] - gone for name in (a, b))
        overlap = len(chosen & also) / len(chosen) if chosen else None
        pairs.append({"first": a, "second": b, **agreement, "overlap": overlap})
    study.lap("statistics")
    about = {"task": subject.task.spec.name, "headline": predictions.measure.name}
    about |= {"reads_one_token": gradients.reads_one_token}
    about["chance_overlap"] = (n_half - len(gone)) / max(1, gone.n_total - len(gone))
    return study.record(subject.device, **about, lines=lines, pairs=pairs)
