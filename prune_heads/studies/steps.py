"""The steps of a run on their own, joined by their files: score, prune, evaluate."""

from typing import Any

from prune_heads.ablation import predict_masks
from prune_heads.errors import OptionError
from prune_heads.heads import HeadMask
from prune_heads.importance import criterion_of
from prune_heads.options import Ablation, Choice, Cluster, Masked, Pairs, Scoring, Setup, Surgery, WrittenModel
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.statistics import compare_paired
from prune_heads.studies.ablating import ablate
from prune_heads.studies.pairs import ablate_pairs
from prune_heads.studies.pruning import (
    chosen,
    counted,
    going_together,
    note_without_heads,
    prune,
    read_heads,
    read_scores,
)
from prune_heads.studies.scoring import Found, Lab, configuration_of, score
from prune_heads.studies.setup import costs_of, identify, identify_model, load_model
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
    about = {"task": subject.task.spec.name, "split": split.name, "n_examples": len(split)}
    about |= {"metrics": predictions.metrics(logits), "intervals": predictions.intervals(logits, seed)}
    return {**about, "heads_pruned": mask.descriptors(), "n_heads": mask.n_total}


def compare(predictions: Predictions, first: HeadMask, second: HeadMask, seed: int = 0) -> dict[str, Any]:
    """Each metric under two masks: what the second does beside the first, with its interval and a paired test.

    Raises: as `evaluate`.
    """
    found = predict_masks(predictions, [first, second])
    kept = {name: found[mask | predictions.gone] for name, mask in (("first", first), ("second", second))}
    task, split = predictions.subject.task.spec.name, predictions.split
    about = {"task": task, "split": split.name, "n_examples": len(split)}
    about |= {"first": first.descriptors(), "second": second.descriptors()}
    return {**about, "rows": list(predictions.compared(kept, compare_paired, seed))}


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
