"""Score, choose, prune, re-evaluate: `prune-heads run`, and what its steps share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prune_heads.anatomy import Unit, attention_blocks, units
from prune_heads.budget import n_parameters, pruned_parameters
from prune_heads.coverage.mixing import mixers
from prune_heads.errors import HeadDescriptorError, MaskNotAppliedError, OptionError
from prune_heads.evaluation import predict
from prune_heads.files import digest
from prune_heads.gating import Instead, gated, gates_of
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import criterion_of
from prune_heads.objectives.base import Kept
from prune_heads.options import Choice, RunOptions, Scoring, Setup, Surgery, WrittenModel
from prune_heads.options.studies import Mode
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.recovery import check_rescalable
from prune_heads.runs import Study
from prune_heads.selection import check_count, count_for_fraction, lowest_first, select
from prune_heads.statistics import paired_bootstrap
from prune_heads.studies import recovering
from prune_heads.studies.changed import changed
from prune_heads.studies.reading import read_heads, read_means, read_scores
from prune_heads.studies.scoring import Found, Lab, configuration_of, note_oracle
from prune_heads.studies.setup import costs_of, identify_model, identify_split, load_model
from prune_heads.surgery import bias_shifts, remove_heads, removed_heads, zero_heads
from prune_heads.verification import apart, compared, prove_gates

SURGERY = {"zero": zero_heads, "remove": remove_heads}

CURVE_STEPS = 10  # 0 to 100 % in steps of 10, as in the paper's figure 3


def chosen(choice: Choice, shape: HeadMask, scores: HeadScores | None, units: Sequence[Unit] | None = None) -> HeadMask:
    """The heads to prune.

    A `HeadDescriptorError` if the heads cannot be read, are not there, or cannot all be pruned.

    Args:
        choice: As asked for.
        shape: The heads there were, and those that are gone already.
        scores: By which heads are chosen, unless they are named.
        units: Heads that go together; None: each alone.
    """
    if choice.heads is not None:
        mask = (read_heads(choice.heads, shape.n_heads) | shape).with_whole(units or ())
        for name, keep in zip(shape.n_heads.names(), mask.keep(), strict=True):
            if keep.sum() < choice.min_per_layer:
                must = f"--min-per-layer {choice.min_per_layer} must hold for the heads that are named"
                raise HeadDescriptorError(f"{must}, but layer {name} would keep {keep.sum()}")
        return mask
    assert scores is not None  # options refuse to name no heads and to give no scores
    return select(scores, count_chosen(choice, shape), min_per_layer=choice.min_per_layer, gone=shape, units=units)


def count_chosen(choice: Choice, shape: HeadMask) -> int:
    """How many heads to prune by scores, those that are gone included; a `HeadDescriptorError` if not so many can."""
    asked = count_for_fraction(shape.n_total, choice.fraction or 0.0) if choice.n_heads is None else choice.n_heads
    wanted = max(asked, len(shape))
    check_count(wanted, shape, choice.min_per_layer)
    return wanted


def counted(mask: HeadMask) -> dict[str, Any]:
    """For records: the heads there were, and those that are pruned."""
    return {"n_heads": mask.n_total, "n_pruned": len(mask), "heads_pruned": mask.descriptors()}


def going_together(model: nn.Module, choice: Choice, mode: Mode, reporter: Reporter) -> Sequence[Unit] | None:
    """The heads that surgery takes together; None where each goes alone. What the user did not ask for is noted.

    A `HeadDescriptorError` if heads are to be removed by their scores where they can only go by groups, and that was
    not asked for.
    """
    blocks = attention_blocks(model)
    has_groups = any(block.group_size > 1 for block in blocks)
    if has_groups and mode == "remove" and choice.needs_scores and not choice.groups:
        of_a_layer = f"{blocks[0].n_heads} heads, {blocks[0].n_kv_heads} of keys and values a layer"
        must = f"heads of this model share keys and values ({of_a_layer}) and are removed by whole groups"
        cure = "add --groups to choose groups by their mean score, or take --mode zero, which zeroes single heads"
        raise HeadDescriptorError(f"{must}: {cure}")
    if shares_layers := any(block.n_depths > 1 for block in blocks):
        goes = f"a head goes from all {blocks[0].n_depths} of them at once"
        how = ", by its mean score" if choice.needs_scores else ""
        reporter.note(f"layers of this model share their weights: {goes}{how}")
    return units(blocks, groups=choice.groups) if choice.groups or shares_layers else None


def prune(
    model: nn.Module, mask: HeadMask, mode: Mode, inputs: Mapping[str, Tensor], means: Instead = None
) -> dict[str, int]:
    """Zero or remove the heads of a model, and see that it computes on `inputs` what it computed under gates.

    Means of heads stand in for them; see `bias_shifts`.

    Returns:
        `before`: parameters of the model as it was; `pruned`: those that have become zero or are gone.

    Raises:
        MaskNotAppliedError: If gates do nothing, or the logits after surgery are not those under gates.
    """
    prove_gates(model, inputs)
    parameters = {"before": n_parameters(model), "pruned": pruned_parameters(attention_blocks(model), mask)}
    with torch.inference_mode(), gated(model, gates_of(model, mask), means):
        expected = compared(model(**inputs))
    SURGERY[mode](model, mask, means)
    try:
        with torch.inference_mode():
            difference = apart(compared(model(**inputs)), expected)
    except RuntimeError as error:  # a forward that counts on heads that are gone
        must = f"a model after --mode {mode} must still run; this one fails: {error}"
        raise MaskNotAppliedError(f"{must}. Try --mode zero, or a newer transformers") from error
    if difference > (1e-4 if next(model.parameters()).dtype == torch.float32 else 5e-2):
        must = f"a model after --mode {mode} must give the logits that it gives under gates"
        raise MaskNotAppliedError(f"{must}; they differ by {difference:.3g} of the largest, or of 1")
    return parameters


def note_without_heads(predictions: Predictions, mask: HeadMask) -> None:
    """Say that all heads are pruned, where they are, and what that means for this model, tried on its first text."""
    if len(mask) < mask.n_total:
        return
    subject = predictions.subject
    text = predictions.batches.batch(np.arange(1)).to(subject.device)
    others = mixers(subject.model, text.inputs)
    said = "all heads are pruned"
    if others:
        said += f"; tokens still see each other in {', '.join(others)}, which have no heads here"
    elif others is not None:
        said += ": no token sees another any more"
    predictions.reporter.note(said)


def prune_heads(model: WrittenModel, choice: Choice, options: Surgery, reporter: Reporter) -> Found:
    """Zero or remove heads, named or chosen by a scores.json; no data are needed.

    An `OptionError` if heads are named and chosen, or neither; or means are to stand in and no file has them; a
    `PruneHeadsError` if the model, the heads or the scores cannot be read.
    """
    by_means = options.replace == "mean"
    if by_means and options.scores is None:
        raise OptionError("--replace mean needs --scores, a scores.json of 'prune-heads score --replace mean --output'")
    if not by_means and (options.scores is None) == (choice.heads is None):
        raise OptionError("heads must be named by --heads or chosen by --scores, one of the two")
    study, mode = Study("prune", reporter), options.mode
    classifier = load_model(model, reporter)
    gone = removed_heads(classifier.model)
    together = going_together(classifier.model, choice, mode, reporter)
    scores = None if options.scores is None else read_scores(options.scores, gone.n_heads)
    mask = chosen(choice, gone, scores, together)
    configuration = {"model": classifier.name, "heads": mask.descriptors(), "mode": mode, "dtype": model.dtype}
    means = read_means(options.scores, classifier.model) if by_means and options.scores else None
    if means is not None:
        of_means = [None if each is None else each.tolist() for each in means]
        configuration |= {"replace": options.replace, "means": digest({"means": of_means})}
    study.begin(configuration, **identify_model(classifier))
    parameters = prune(classifier.model, mask, mode, classifier.probe_inputs(), means)
    study.lap("prune")
    record = study.record(classifier.model.device, mode=mode, **counted(mask), parameters=parameters)
    return Found(record, mask=mask, checkpoint=classifier)


def run_alone(setup: Setup, choice: Choice, scoring: Scoring, options: RunOptions, reporter: Reporter) -> Found:
    """As `run`, in a lab of its own."""
    return run(Lab(setup, reporter), choice, scoring, options)


# long: one study from its options to its record, a stage a paragraph
def run(lab: Lab, choice: Choice, scoring: Scoring, options: RunOptions) -> Found:
    """Run the main job; the lab's model is pruned, or a copy of it if the lab is reused.

    A `PruneHeadsError` if anything that the run needs cannot be had, or a mask is not applied.
    """
    criterion_of(scoring.criterion)  # one's own that does not fit is refused before all else
    if options.rescale and lab.setup.replace in ("position-mean", "resample"):
        raise OptionError(f"--rescale must be with --replace zero or mean; {lab.setup.replace} changes no weight.")
    lab.scoring = scoring
    study, subject, reporter = Study("run", lab.reporter), lab.subject, lab.reporter
    every = lab.reported(options.split)
    splits = [each.split for each in every]
    for each in every if options.margin is not None else ():
        each.check_defined()
    gone = removed_heads(subject.model)
    together = going_together(subject.model, choice, options.mode, reporter)
    named = None if choice.needs_scores else chosen(choice, gone, None, together)
    if choice.needs_scores:
        count_chosen(choice, gone)  # what cannot be chosen is refused before hours of scoring
    scores_needed = choice.needs_scores or options.curve
    examples = lab.examples(scoring) if scores_needed else None
    if examples is not None:
        note_oracle(scoring.criterion, examples.split, splits, reporter)
    heads = {"heads": None if named is None else named.descriptors()}
    scored_on = None if examples is None else identify_split(examples.split)
    asked = (lab.setup, configuration_of(scoring), choice, heads, options)
    replacement = lab.replacement
    means = replacement.means if replacement is not None and replacement.kind == "mean" else None
    bias_shifts(subject.model, HeadMask.all(gone.n_heads), means)  # refused before hours of scoring, too
    identity = dict(lab.once(("identity", options.split, replacement), lambda: lab.identify(splits)))
    fitted_on = None
    if options.rescale:
        check_rescalable(subject.model)
        fitted_on = recovering.examples_of(lab, scoring)
        identity["rescaled_on"] = identify_split(fitted_on.split)
    study.begin(*asked, **identity, scored_on=scored_on)
    lab.once("proof", lambda: subject.prove_gates(every[0].batches))
    n_examples = sum(each.tokens.n_examples for each in every)
    base: list[Kept] = []
    with reporter.stage("base metric", n_examples) as progress:
        for each in every:
            base.append(each.of(gone, progress))
            each.warn_if_below_chance(base[-1])
    study.lap("base")
    scored = None
    if scores_needed:
        scored = lab.scored(scoring)
        study.lap("score")
    costs = costs_of(subject.classifier)  # of the model as it came
    mask = chosen(choice, gone, scored and scored.scores, together) if named is None else named
    note_without_heads(every[0], mask)
    points: list[dict[str, Any]] = []
    if options.curve and scored is not None:
        masks = lowest_first(scored.scores, gone, CURVE_STEPS, min_per_layer=choice.min_per_layer, units=together)
        points = list(_curve(every, masks, scoring.seed, reporter))
        study.lap("curve")
    model = deepcopy(subject.classifier.model) if lab.reused or options.rescale else subject.classifier.model
    by_gates = replacement is not None and means is None
    if by_gates:
        reporter.note(f"--replace {lab.setup.replace} depends on the example: the heads are gated, no weight changes")
        parameters = {"before": n_parameters(model), "pruned": 0}
    else:
        parameters = prune(model, mask, options.mode, subject.classifier.probe_inputs(), means)
    won_back = {}
    if fitted_on is not None:
        won_back["rescaled"] = recovering.rescaled(model, subject.model, fitted_on, mask)
    rows, without = list[dict[str, Any]](), list[tuple[Predictions, Kept, dict[None, Kept]]]()
    with reporter.stage("pruned metric", n_examples) as progress:
        for each, before in zip(every, base, strict=True):  # the model itself, which no mask stands for
            pruned = each.of(mask, progress) if by_gates else predict(model, each.batches, progress=progress)
            without.append((each, before, {None: pruned}))
            rows += rows_of(each, before, pruned, scoring.seed, options.margin)
    study.lap("prune")
    about = {"task": subject.task.spec.name, "headline": every[0].measure.name, "mode": options.mode, **counted(mask)}
    about |= {"parameters": parameters, "costs": costs, "rows": rows, "curve": points}
    record = study.record(subject.device, **about, **won_back)
    checkpoint = None if by_gates else subject.classifier._replace(model=model)
    return Found(record, mask=mask, scored=scored, checkpoint=checkpoint, examples=partial(changed, without))


def rows_of(each: Predictions, before: Kept, pruned: Kept, seed: int, margin: float | None) -> list[dict[str, Any]]:
    """What pruning does on a split, a row a metric, as records of `run` have it; the headline first, with more."""
    about = {"split": each.split.name, "n_examples": len(each.references)}
    kept, intervals, rows = {"base": before, "pruned": pruned}, each.intervals(before, seed), list[dict[str, Any]]()
    for row in each.compared(kept, paired_bootstrap, seed):
        rows.append({**about, **row, "base_interval": intervals[row["metric"]]})
        if row["metric"] == each.measure.name:
            both = each.answers(before), each.answers(pruned)
            rows[-1] |= each.responses_compared(kept, seed)
            rows[-1]["changed"] = each.changed(*both)
            if margin is not None:
                rows[-1]["kept"] = each.kept_within(margin, *both, seed)
    return rows


def point_of(each: Predictions, mask: HeadMask, kept: Kept, percent: float, seed: int) -> dict[str, Any]:
    """A point of a curve, as records of `run` have it; `low` and `high` are the 95% interval of the headline metric."""
    low, high = each.interval(each.answers(kept), seed)
    about = {"split": each.split.name, "percent": percent}
    about |= {"n_pruned": len(mask), "heads_pruned": mask.descriptors()}
    about["n_classes_predicted"] = len(np.unique(each.answers(kept)))
    return {**about, **each.metrics(kept), "low": low, "high": high}


def _curve(
    every: Sequence[Predictions], masks: Sequence[HeadMask], seed: int, reporter: Reporter
) -> Iterator[dict[str, Any]]:
    """The metric against the share of heads pruned, lowest score first; rows as they come (paper, figure 3).

    Heads are gated, so the model stays as it is. With `min_per_layer` the curve ends where no more may go; heads
    that have been removed before are pruned at its start. Units go as a whole: a point may have fewer heads then.
    """
    total = sum(each.tokens.n_examples for each in every) * len(masks)
    with ExitStack() as held, reporter.stage("curve", total) as progress:
        for each in every:
            held.enter_context(each.unchanged())
        for step, mask in enumerate(masks):
            for each in every:
                yield point_of(each, mask, each.of(mask, progress), 100 * step // CURVE_STEPS, seed)
