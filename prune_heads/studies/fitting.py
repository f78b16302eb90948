"""As few heads as lose less than a margin: searched on training data, shown on examples on which nothing was chosen."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from math import ceil, log1p
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from prune_heads.anatomy import Unit, units
from prune_heads.budget import n_parameters
from prune_heads.errors import DataError, HeadDescriptorError, OptionError, UnfitError
from prune_heads.evaluation import Subject, predict
from prune_heads.heads import HeadMask
from prune_heads.importance import criterion_of
from prune_heads.objectives.base import Kept
from prune_heads.options import Fitting, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.recovery import check_rescalable
from prune_heads.runs import Study
from prune_heads.statistics.groups import FEW_GROUPS
from prune_heads.statistics.safe import Loss, design_effect, loss_of, worth_of
from prune_heads.studies.bench import Race, timed
from prune_heads.studies.changed import changed
from prune_heads.studies.pruning import counted, point_of, prune, rows_of
from prune_heads.studies.recovering import MOST_RESCALING, rescaled
from prune_heads.studies.repeated import check_units, samples_of
from prune_heads.studies.scoring import Found, Lab, names_of_own, score
from prune_heads.studies.search import Record, Search, saved
from prune_heads.studies.setup import costs_of, identify_split
from prune_heads.surgery import bias_shifts
from prune_heads.tasks.task import Split

_WHAT = {"multiply-adds": "multiply_adds", "milliseconds": "multiply_adds"}  # budget -> what the search counts
_N_RUNS, _N_BATCHES = 6, 2  # of what is timed


# long: one study from its options to its record, a stage a paragraph
def fit(setup: Setup, options: Fitting, reporter: Reporter) -> Found:
    """Find heads without which less than `max_loss` is lost, and show it; the record is that of `run`, and `fit`.

    Training data are cut in two by whole groups. Criteria score on one part; on the other their orders are cut, and
    heads exchanged. That fixes a short list of candidates, nested, which are tested as in `statistics.safe` on a split
    of which no answer was computed before. Each is tested as it would be saved, and the last one that is shown is.

    A `DataError` if there are too few examples to show anything; an `OptionError` if options contradict each other; an
    `UnfitError` if the metric has no margin, the model no such budget, or heads would be scored on one example or group
    of them; other errors as of `run`.
    """
    rows = {name: criterion_of(name) for name in options.criterion}  # one's own that does not fit is refused first
    if setup.replace in ("position-mean", "resample"):
        raise OptionError("--replace must be zero or mean, for what is tested is saved; others depend on the example")
    study, lab = Study("fit", reporter), Lab(setup, reporter)
    limit = min(options.train_examples, setup.max_examples or options.train_examples)
    lab.scoring = replace(options.by(options.criterion[0]), score_examples=limit)  # for what stands in for heads
    subject, spec = lab.subject, lab.subject.task.spec
    trained, tested_on = spec.score_split, options.test_split or spec.eval_splits[0]
    if trained == tested_on:
        raise OptionError(f"--test-split must be a split on which nothing is chosen; got {tested_on} for both")
    test, costs = lab.predictions(tested_on), costs_of(subject.classifier)
    _check(test, options, costs)
    save = partial(saved, costs, what=_WHAT.get(options.budget, options.budget))
    going, gone, probe = units_of(subject, options), test.gone, subject.classifier.probe_inputs()
    means = None if lab.replacement is None else lab.replacement.means
    if options.rescale:
        check_rescalable(subject.model)
    bias_shifts(subject.model, HeadMask.all(gone.n_heads), means)  # what cannot be saved is refused before all work
    prune(deepcopy(subject.classifier.model), gone | HeadMask(gone.n_heads, going[0]), options.mode, probe, means)
    whole = lab.predictions(trained, limit)
    if (n_seen := sum(map({*_inputs(whole.split)}.__contains__, _inputs(test.split)))) == len(test.split):
        raise DataError(f"a test must be of examples on which nothing is chosen; all of {tested_on} are in {trained}")
    check_units("what heads are scored and chosen on", [whole])
    _, halves = samples_of({trained: whole}, lab, 2, options.seed, useful=1)
    scored_on, chosen_on = halves[trained]
    few = scored_on.split.at(range(min(len(scored_on.split), MOST_RESCALING)))
    fitted_on = lab.of(few) if options.rescale else None
    said, own = names_of_own(rows)
    on = {"scored_on": identify_split(scored_on.split), "chosen_on": identify_split(chosen_on.split)}
    study.begin(setup, options, own, **lab.identify([test.split]), **on)
    chosen_on.check_defined()
    search = Search(chosen_on, going, save, options, len(test.references))
    _check_size(test, options, search.worth)
    scored = {said[n]: score(subject, options.by(n), scored_on if row.needs_data else None) for n, row in rows.items()}
    study.lap("score")
    criterion, candidates, found = search.candidates({name: each.scores for name, each in scored.items()})
    listed: list[Record] = [{"n_pruned": len(mask), "heads_pruned": mask.descriptors()} for mask in candidates]
    for row, mask, loss in zip(listed, candidates, map(search.loss, candidates), strict=True):
        row |= {"saved": save(mask), "chosen": {"lost": loss.value, "error": loss.error}}
    study.lap("search")  # the candidates are fixed: from here on the test is looked at
    base, none = test.of(gone), {"before": n_parameters(subject.model), "pruned": 0}
    best: tuple[Record, HeadMask, Kept, dict[str, int], PreTrainedModel | None] = {}, gone, base, none, None
    points = [point_of(test, gone, base, 100 * len(gone) / gone.n_total, options.seed)]
    with reporter.stage("test", len(candidates) * len(test.references)) as progress:
        for row, mask in zip(listed, candidates, strict=True):
            model = deepcopy(subject.classifier.model)
            parameters = prune(model, mask, options.mode, probe, means)  # proves it to be the model under gates
            if fitted_on is not None:
                row["rescaled"] = rescaled(model, subject.model, fitted_on, mask)
            kept = predict(model, test.batches, progress=progress)
            row |= _tested(search, test, base, kept)
            points.append(point_of(test, mask, kept, 100 * len(mask) / gone.n_total, options.seed))
            if row["verdict"] != "kept":
                break
            row |= _speed(chosen_on, subject.classifier.model, model) if options.budget == "milliseconds" else {}
            if max(row.get("speeds", [1])) >= max(each.get("speed", 0) for each in listed):  # by no run slower
                best = row, mask, kept, parameters, model
    study.lap("test")
    if n_seen:
        reporter.note(f"{tested_on}: {n_seen} of {len(test.split)} examples are also in {trained}, label aside")
    shown, mask, kept, parameters, pruned = best
    final = rows_of(test, base, kept, options.seed, None)
    final[0] |= {"kept": {name: shown[name] for name in ("margin", "low", "high", "verdict")}} if shown else {}
    of_fit = {"n_shown": len(mask) if shown else None, "n_seen": n_seen, **found, "candidates": listed}
    about = {"task": spec.name, "headline": test.measure.name, "mode": options.mode, **counted(mask)}
    about |= {"ordered_by": {key: scored[criterion].about[key] for key in ("criterion", "estimator")}}
    about |= {"parameters": parameters, "costs": costs, "rows": final, "curve": points, "fit": of_fit}
    record = study.record(subject.device, **about)
    checkpoint = None if pruned is None else subject.classifier._replace(model=pruned)
    examples = partial(changed, [(test, base, {None: kept})]) if shown else None
    return Found(record, mask=mask, scored=scored[criterion], checkpoint=checkpoint, examples=examples)


def _check(test: Predictions, options: Fitting, costs: Record) -> None:
    """Refuse what cannot be shown or measured before any work."""
    task, budget = test.subject.task.spec.name, options.budget
    if test.measure.name == "perplexity":
        raise UnfitError(f"a margin must be of a metric that is better when higher; {task} is measured by perplexity")
    if budget == "milliseconds" and options.mode == "zero":
        raise OptionError("--budget milliseconds must be with --mode remove: zeroed heads take as long as before")
    if budget == "milliseconds" and (test.objective.head.reads != "text" or test.objective.generates):
        raise UnfitError(f"milliseconds must be of a classifier of texts; {task} is none. Take another --budget")
    if budget in _WHAT and costs["multiply_adds"] is None:
        raise UnfitError(f"--budget {budget} needs multiply-adds, which are not known of this model. Take parameters")
    test.check_defined()
    if not (test.objective.chooses or test.objective.generates) and test.n_units < FEW_GROUPS:
        must = f"a loss of {test.measure.name} must be tested on {FEW_GROUPS} examples or groups at least"
        raise DataError(f"{must}; {test.split.name} has {test.n_units}. Take more examples")
    _check_size(test, options, 1.0 if test.measure.is_share else None)


def _check_size(test: Predictions, options: Fitting, worth: float | None) -> None:
    """Refuse too few examples to show a loss under the margin even if no answer changes; `worth` as of `loss_of`."""
    n, margin = len(test.references), options.max_loss
    n_worth = n / (worth or 1) / design_effect(np.zeros(n), test.groups)
    can = margin if worth is None else Loss(0, 0, n, n_worth, (0, 0)).limit(1 - options.confidence)
    if can > margin + 1e-4:
        n_least = ceil(n * log1p(-min(can, 0.99)) / log1p(-margin))
        must = f"to show a loss under {margin:g}, about {n_least:,} examples must be there"
        got = f"{test.split.name} has {n:,}, which show {ceil(1e4 * can) / 1e4:g} if no answer changes"
        raise DataError(f"{must}; {got}. Allow a larger --max-loss, or take more examples")


def units_of(subject: Subject, options: Fitting) -> list[Unit]:
    """What may go as a whole, in order; a `HeadDescriptorError` if no head is left."""
    found = list(units(subject.blocks, groups=options.units != "heads"))
    if options.units == "layers":
        layers = sorted({min(unit)[0] for unit in found})
        found = [frozenset[Any]().union(*(unit for unit in found if min(unit)[0] == layer)) for layer in layers]
    if not found:
        raise HeadDescriptorError("some heads must be there to be taken away; this model has none left")
    return found


def _tested(search: Search, test: Predictions, base: Kept, kept: Kept) -> Record:
    """What a candidate loses on the test, and whether that is shown to be small; if not, what is, and by how many."""
    margin, level = search.options.max_loss, 1 - search.options.confidence
    answers = test.answers(base), test.answers(kept)
    worth = search.worth and worth_of(test.measure, answers[0], test.references)  # labels may be rarer than in training
    loss = loss_of(test.measure, *answers, test.references, search.options.seed, test.groups, worth)
    p_value, within = loss.p_value(margin), test.kept_within(margin, *answers, search.options.seed)
    within["verdict"] = "kept" if p_value <= level else "lost" if within["high"] < -margin else "open"
    row = {"value": test.metric_of(kept), "lost": loss.value, "error": loss.error, **within, "p_value": p_value}
    row["changed"] = test.changed(*answers)
    if within["verdict"] != "kept":
        row |= {"limit": loss.limit(level), "examples_needed": loss.examples_needed(margin, level)}
    return row


def _speed(texts: Predictions, original: PreTrainedModel, model: PreTrainedModel) -> Record:
    """How many times as fast a model is on batches of real lengths, and the median milliseconds of one."""
    n, size = len(texts.references), min(texts.subject.batch_size, len(texts.references))
    starts = range(0, min(n, _N_BATCHES * size) - size + 1, size)
    batches = [texts.batches.batch(np.arange(at, at + size)).to(texts.subject.device).inputs for at in starts]
    sides = {"before": (original, None), "after": (model, None)}
    found = timed(sides, Race("real", size, batches), _N_RUNS, lambda done: None)
    ratio = found["ratio"]["after"]
    if max(ratio["each"]) - min(ratio["each"]) > abs(ratio["median"] - 1):
        why = "this machine is busy, or the models are as fast; --budget multiply-adds does not depend on it"
        texts.reporter.note(f"speed-ups differ more from run to run than from 1: {why}")
    times = {side: 1e3 * size / float(np.median(of["each"])) for side, of in found["examples_per_second"].items()}
    return {"speed": ratio["median"], "speeds": ratio["each"], "milliseconds": times}


def _inputs(split: Split) -> list[str]:
    """Of each example what the model is given, as a text."""
    columns = [column for name, column in split.columns.items() if name != "label"]
    return [repr([getattr(cell, "fingerprint", cell) for cell in row]) for row in zip(*columns, strict=True)]
