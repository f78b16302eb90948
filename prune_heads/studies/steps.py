"""The steps of a run on their own, joined by their files: score, prune, evaluate; and what they gain in speed."""

from pathlib import Path
from typing import Any

import numpy as np

from prune_heads.ablation import predict_masks
from prune_heads.errors import HeadDescriptorError, OptionError, RunError
from prune_heads.files import read_json
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import criterion_of
from prune_heads.options import Ablation, Bench, Choice, Cluster, Masked, Pairs, Scoring, Setup, Surgery, WrittenModel
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.statistics import compare_paired, metric_interval
from prune_heads.studies.ablating import ablate
from prune_heads.studies.bench import bench, original_of
from prune_heads.studies.pairs import ablate_pairs
from prune_heads.studies.pruning import chosen, counted, going_together, note_without_heads, prune, read_heads
from prune_heads.studies.scoring import Found, Lab, configuration_of, score
from prune_heads.studies.setup import costs_of, identify, identify_model, load_model, load_split, load_subject
from prune_heads.studies.spreading import spread_over
from prune_heads.surgery import removed_heads


def evaluate(predictions: Predictions, mask: HeadMask, seed: int = 0) -> dict[str, Any]:
    """The JSON contract of `prune-heads evaluate`; logits that the store has are not computed again.

    The intervals are those of 95% by the bootstrap, whose seed is `seed`.

    Raises:
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit is NaN or infinite.
        PruneHeadsError: If the store cannot be written.
    """
    subject, split, reporter = predictions.subject, predictions.split, predictions.reporter
    subject.prove_gates(predictions.batches)
    note_without_heads(predictions, mask)
    with reporter.stage("evaluating", predictions.batches.n_examples) as progress:
        logits = predictions.of(mask, progress)
    if not mask:
        predictions.warn_if_below_chance(logits)
    answers, measures = predictions.answers(logits), predictions.objective.measures
    return {
        "task": subject.task.spec.name,
        "split": split.name,
        "n_examples": len(split),
        "metrics": predictions.metrics(logits),
        "intervals": {
            name: list(metric_interval(measure, answers, predictions.references, seed=seed))
            for name, measure in measures.items()
        },
        "heads_pruned": mask.descriptors(),
        "n_heads": mask.n_total,
    }


def compare(predictions: Predictions, first: HeadMask, second: HeadMask, seed: int = 0) -> dict[str, Any]:
    """Each metric under two masks: what the second does beside the first, with its interval and a paired test.

    Raises: as `evaluate`.
    """
    found = predict_masks(predictions, [first, second])
    kept = {name: found[mask | predictions.gone] for name, mask in (("first", first), ("second", second))}
    return {
        "task": predictions.subject.task.spec.name,
        "split": predictions.split.name,
        "n_examples": len(predictions.split),
        "first": first.descriptors(),
        "second": second.descriptors(),
        "rows": list(predictions.compared(kept, compare_paired, seed)),
    }


def score_heads(setup: Setup, scoring: Scoring, cluster: Cluster, reporter: Reporter) -> Found:
    """Score the heads, here or on a cluster."""
    criterion = criterion_of(scoring.criterion)  # one's own that does not fit is refused before all else
    study = Study("score", reporter)
    with spread_over(setup, cluster if criterion.needs_data else Cluster(), reporter) as spread:
        lab = Lab(setup, reporter)
        subject, examples = lab.subject, lab.examples(scoring)
        splits = [] if examples is None else [examples.split]
        study.begin(setup, configuration_of(scoring), **identify(subject, splits))
        scored = score(subject, scoring, examples, spread=spread)
    study.lap("score")
    record = study.record(subject.device, task=subject.task.spec.name, costs=costs_of(subject.classifier))
    if cluster.shards is not None and not criterion.needs_data:  # not in the record, which is the same wherever made
        reporter.note(f"{scoring.criterion} looks at no examples and is done at once: here, not on a cluster")
    return Found(record, scored.report(), scored=scored)


def ablate_heads(setup: Setup, cluster: Cluster, options: Ablation, which: Pairs, reporter: Reporter) -> Found:
    """See `ablate` and `ablate_pairs`, here or on a cluster.

    Raises:
        OptionError: If pairs are named and not asked for.
        PruneHeadsError: As they do.
    """
    if options.kind != "pairs" and (which.heads or which.nearest):
        raise OptionError("--heads and --nearest belong to --kind pairs")
    with spread_over(setup, cluster, reporter) as spread:
        if options.kind == "pairs":
            return ablate_pairs(setup, options, which, reporter, spread=spread)
        return ablate(setup, options, reporter, spread=spread)


def prune_heads(model: WrittenModel, choice: Choice, options: Surgery, reporter: Reporter) -> Found:
    """Zero or remove heads, named or chosen by a scores.json; no data are needed.

    Raises:
        OptionError: If heads are named and chosen, or neither.
        PruneHeadsError: If the model, the heads or the scores cannot be read.
    """
    if (options.scores is None) == (choice.heads is None):
        raise OptionError("heads must be named by --heads or chosen by --scores, one of the two")
    study, mode = Study("prune", reporter), options.mode
    classifier = load_model(model, reporter)
    gone = removed_heads(classifier.model)
    together = going_together(classifier.model, choice, mode, reporter)
    scores = None if options.scores is None else read_scores(options.scores, gone.n_heads)
    mask = chosen(choice, gone, scores, together)
    configuration = {"model": classifier.name, "heads": mask.descriptors(), "mode": mode, "dtype": model.dtype}
    study.begin(configuration, **identify_model(classifier))
    parameters = prune(classifier.model, mask, mode, classifier.probe_inputs())
    study.lap("prune")
    record = study.record(classifier.model.device, mode=mode, **counted(mask), parameters=parameters)
    return Found(record, mask=mask, checkpoint=classifier)


def evaluate_heads(setup: Setup, options: Masked, reporter: Reporter) -> Found:
    """The task's metrics with heads masked."""
    study = Study("evaluate", reporter)
    lab = Lab(setup, reporter)
    subject = lab.subject
    mask = read_heads(options.heads, subject.n_heads) | removed_heads(subject.model)
    predictions = lab.predictions(options.split or subject.task.spec.eval_splits[0])
    split = predictions.split
    study.begin(setup, {"heads": mask.descriptors(), "split": split.name}, **identify(subject, [split]))
    report = evaluate(predictions, mask)
    study.lap("evaluate")
    return Found(study.record(subject.device, **report), report, mask)


def time_heads(setup: Setup, choice: Choice, options: Bench, reporter: Reporter) -> Found:
    """How fast the model is without some heads, on validation texts; those that it has lost before always go.

    Raises:
        HeadDescriptorError: If no head is to go, so that there is nothing to compare.
        OptionError: If heads are named and chosen by scores.
        PruneHeadsError: If the sides cannot be had, or give different logits.
    """
    if options.scores is not None and choice.heads is not None:
        raise OptionError("--scores and --heads exclude each other")
    study = Study("bench", reporter)
    subject = load_subject(setup, reporter)
    split = load_split(setup, subject, subject.task.spec.eval_splits[0], reporter)
    gone, original = removed_heads(subject.model), original_of(subject)
    together = going_together(original, choice, "remove", reporter)
    drawn = HeadScores.from_flat(np.random.default_rng(options.seed).random(gone.n_total), gone.n_heads)
    by = read_scores(options.scores, gone.n_heads) if options.scores else drawn
    mask = chosen(choice, gone, by, together)
    if not mask:
        raise HeadDescriptorError(
            "some heads must go, or there is nothing to compare; got none. Name them by --heads, or a larger --fraction"
        )
    settled = {"heads": mask.descriptors(), "batch_sizes": list(options.sizes(len(split)))}
    study.begin(setup, choice, options, settled, **identify(subject, [split]))
    found = bench(subject, original, mask, split, options, reporter)
    study.lap("bench")
    about = {"task": subject.task.spec.name, "mode": "remove", **counted(mask)}
    return Found(study.record(subject.device, **about, **found), mask=mask)


def read_scores(path: Path, n_heads: tuple[int, ...]) -> HeadScores:
    """The scores in a `scores.json` of a model with so many heads a block.

    Raises:
        RunError: If the file cannot be read or belongs to another model.
    """
    try:
        scores = HeadScores.from_json(read_json(path, "a file of scores"))
    except (KeyError, TypeError, ValueError) as error:
        what = "a file of scores must be what 'prune-heads score --output' writes"
        raise RunError(f"{what}; {path.name} is not: {error}") from error
    if scores.n_heads != n_heads:
        there = list(scores.n_heads)
        raise RunError(f"the scores must be of this model, with {list(n_heads)} heads a layer; {path.name} has {there}")
    return scores
