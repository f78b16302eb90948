"""The steps of a run on their own, joined by their files: score, prune, evaluate; and what they gain in speed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from prune_heads.ablation import predict_masks
from prune_heads.checkpoints import Checkpoint
from prune_heads.coverage.mixing import mixers
from prune_heads.errors import HeadDescriptorError, RunError
from prune_heads.files import read_json
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.options import Bench, Choice, Masked, Scoring, Setup, Surgery, WrittenModel
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Admit, Study, anyone
from prune_heads.statistics import compare_paired, metric_interval
from prune_heads.studies.bench import bench, original_of
from prune_heads.studies.pruning import chosen, counted, going_together, prune, read_heads
from prune_heads.studies.scoring import ScoreResult, configuration_of, examples_to_score_on, score
from prune_heads.studies.setup import identify, identify_model, load_model, load_split, load_subject, predictions_of
from prune_heads.studies.spreading import Spread
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
    metrics, answers = predictions.metrics(logits), predictions.answers(logits)
    return {
        "task": subject.task.spec.name,
        "split": split.name,
        "n_examples": len(split),
        "metrics": metrics,
        "intervals": {
            name: list(metric_interval(measure, answers, predictions.references, seed=seed))
            for name, measure in predictions.objective.measures.items()
        },
        "heads_pruned": mask.descriptors(),
        "n_heads": mask.n_total,
    }


def compare(predictions: Predictions, first: HeadMask, second: HeadMask, seed: int = 0) -> dict[str, Any]:
    """Each metric under two masks: what the second does beside the first, with its interval and a paired test.

    Raises: as `evaluate`.
    """
    subject, split = predictions.subject, predictions.split
    found = predict_masks(predictions, [first, second])
    before, after = (found[mask | predictions.gone] for mask in (first, second))
    values = predictions.metrics(before), predictions.metrics(after)
    first_answers, second_answers = predictions.answers(before), predictions.answers(after)
    rows = []
    for name, measure in predictions.objective.measures.items():
        test = asdict(compare_paired(measure, first_answers, second_answers, predictions.references, seed=seed))
        row = {"metric": name, "first": values[0][name], "second": values[1][name]}
        rows.append({**row, "difference": test.pop("value"), **test})
    return {
        "task": subject.task.spec.name,
        "split": split.name,
        "n_examples": len(split),
        "first": first.descriptors(),
        "second": second.descriptors(),
        "rows": rows,
    }


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


Record = dict[str, Any]


def score_heads(
    setup: Setup, scoring: Scoring, reporter: Reporter, *, admit: Admit, spread: Spread | None = None
) -> tuple[Record, ScoreResult]:
    """Score the heads.

    Args:
        setup: Model, task, conditions and store.
        scoring: Criterion, estimator and normalisation.
        reporter: Told about stages and notes.
        admit: Called with the identity before the long work; it may refuse by raising.
        spread: The cluster that does what takes long; None to do it here.

    Raises:
        PruneHeadsError: If the heads cannot be scored.
    """
    study = Study("score", reporter, admit)
    subject = load_subject(setup, reporter)
    examples = examples_to_score_on(subject, setup, scoring, reporter)
    study.begin(
        configuration={**setup.configuration(), **configuration_of(scoring)},
        **identify(subject, [] if examples is None else [examples.split]),
    )
    study.lap("load")
    scored = score(subject, scoring, examples, spread=spread)
    study.lap("score")
    return study.record(subject.device), scored


def prune_heads(
    model: WrittenModel, choice: Choice, options: Surgery, reporter: Reporter, *, admit: Admit
) -> tuple[Record, HeadMask, Checkpoint]:
    """Zero or remove heads, named or chosen by a scores.json; no data are needed. Arguments as `score_heads`.

    Raises:
        PruneHeadsError: If the model, the heads or the scores cannot be read.
    """
    study, mode = Study("prune", reporter, admit), options.mode
    classifier = load_model(model, reporter)
    gone = removed_heads(classifier.model)
    together = going_together(classifier.model, choice, mode, reporter)
    scores = None if options.scores is None else read_scores(options.scores, gone.n_heads)
    mask = chosen(choice, gone, scores, together)
    study.begin(
        configuration={"model": classifier.name, "heads": mask.descriptors(), "mode": mode, "dtype": model.dtype},
        **identify_model(classifier),
    )
    parameters = prune(classifier.model, mask, mode, classifier.probe_inputs())
    study.lap("prune")
    record = study.record(classifier.model.device, mode=mode, **counted(mask), parameters=parameters)
    return record, mask, classifier


def evaluate_heads(
    setup: Setup, options: Masked, reporter: Reporter, *, admit: Admit
) -> tuple[Record, HeadMask, Record]:
    """The record of the task's metrics with heads masked, the mask, and what `prune-heads evaluate` prints.

    Raises:
        PruneHeadsError: If the model cannot be evaluated so.
    """
    study = Study("evaluate", reporter, admit)
    subject = load_subject(setup, reporter)
    mask = read_heads(options.heads, subject.n_heads) | removed_heads(subject.model)
    split = load_split(setup, subject, options.split or subject.task.spec.eval_splits[0], reporter)
    study.begin(
        configuration={**setup.configuration(), "heads": mask.descriptors(), "split": split.name},
        **identify(subject, [split]),
    )
    study.lap("load")
    report = evaluate(predictions_of(setup, subject, split, reporter), mask)
    study.lap("evaluate")
    record = study.record(subject.device, **report)
    return record, mask, report


def time_heads(
    setup: Setup, choice: Choice, options: Bench, reporter: Reporter, *, admit: Admit = anyone
) -> tuple[dict[str, Any], HeadMask]:
    """The record of `prune-heads bench`, and the heads that were removed.

    Args:
        setup: Model, task and conditions; its validation texts are what is run.
        choice: Which heads; those that the model has lost before always.
        options: What is timed, and by what heads are chosen.
        reporter: Told about stages and notes.
        admit: Called with the run's identity before the long work; it may refuse by raising.

    Raises:
        HeadDescriptorError: If no head is to go, so that there is nothing to compare.
        PruneHeadsError: If the sides cannot be had, or give different logits.
    """
    study = Study("bench", reporter, admit)
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
    study.begin(
        configuration={
            **setup.configuration(),
            **choice.configuration(),
            "heads": mask.descriptors(),
            **options.configuration(),
            "batch_sizes": list(options.sizes(len(split))),
        },
        **identify(subject, [split]),
    )
    study.lap("load")
    found = bench(subject, original, mask, split, options, reporter)
    study.lap("bench")
    return study.record(subject.device, task=subject.task.spec.name, mode="remove", **counted(mask), **found), mask


def read_scores(path: Path, n_heads: tuple[int, ...]) -> HeadScores:
    """The scores in a `scores.json` of a model with so many heads a block.

    Raises:
        RunError: If the file cannot be read or belongs to another model.
    """
    try:
        scores = HeadScores.from_json(read_json(path, "a file of scores"))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"a file of scores must be what 'prune-heads score --output' writes; {path.name} is not: {error}"
        ) from error
    if scores.n_heads != n_heads:
        raise RunError(
            f"the scores must be of this model, with {list(n_heads)} heads a layer; {path.name} has "
            f"{list(scores.n_heads)}"
        )
    return scores
