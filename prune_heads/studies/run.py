"""Score, choose, prune, re-evaluate: `prune-heads run`, with everything that its folder keeps."""

from typing import Any

from prune_heads.evaluation import predict
from prune_heads.importance import criterion_of
from prune_heads.objectives.base import Kept
from prune_heads.options import Choice, RunOptions, Scoring, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.studies.pruning import chosen, compare, count_chosen, counted, curve, going_together, prune
from prune_heads.studies.scoring import Found, Lab, configuration_of, note_oracle
from prune_heads.studies.setup import identify_metric, identify_split
from prune_heads.studies.steps import note_without_heads
from prune_heads.surgery import removed_heads


def run_alone(setup: Setup, choice: Choice, scoring: Scoring, options: RunOptions, reporter: Reporter) -> Found:
    """As `run`, in a lab of its own."""
    return run(Lab(setup, reporter), choice, scoring, options)


# long: one study from its options to its record, a stage a paragraph
def run(lab: Lab, choice: Choice, scoring: Scoring, options: RunOptions) -> Found:
    """Run the main job.

    Args:
        lab: Model, task and conditions; its model is pruned, or a copy of it if the lab is reused.
        choice: Which heads go.
        scoring: How heads are scored.
        options: How they go, and what to report.

    Raises:
        PruneHeadsError: If anything that the run needs cannot be had, or a mask is not applied.
    """
    criterion_of(scoring.criterion)  # one's own that does not fit is refused before all else
    study, subject, reporter = Study("run", lab.reporter), lab.subject, lab.reporter
    every = [lab.predictions(name) for name in options.split or subject.task.spec.eval_splits]
    splits = [each.split for each in every]
    gone = removed_heads(subject.model)
    together = going_together(subject.model, choice, options.mode, reporter)
    named = None if choice.needs_scores else chosen(choice, gone, None, together)
    if choice.needs_scores:
        count_chosen(choice, gone)  # what cannot be chosen is refused before hours of scoring
    scores_needed = choice.needs_scores or options.curve
    examples = lab.examples(scoring) if scores_needed else None
    if examples is not None:
        note_oracle(scoring.criterion, examples.split, splits, reporter)
    study.begin(
        configuration={
            **lab.setup.configuration(),
            **configuration_of(scoring),
            **choice.configuration(),
            "heads": None if named is None else named.descriptors(),
            **options.configuration(),
        },
        **lab.identity,
        **identify_metric(subject),
        data=[identify_split(split) for split in splits],
        scored_on=None if examples is None else identify_split(examples.split),
    )
    study.lap("load")
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
    mask = chosen(choice, gone, scored and scored.scores, together) if named is None else named
    note_without_heads(every[0], mask)
    points: list[dict[str, Any]] = []
    if options.curve and scored is not None:
        points = list(curve(every, scored.scores, reporter, min_per_layer=choice.min_per_layer, units=together))
        study.lap("curve")
    model = lab.model_to_prune()
    parameters = prune(model, mask, options.mode, subject.classifier.probe_inputs())
    rows: list[dict[str, Any]] = []
    with reporter.stage("pruned metric", n_examples) as progress:
        for each, before in zip(every, base, strict=True):  # the model itself, which no mask stands for
            after = predict(model, each.batches, progress=progress)
            rows += compare(each, before, after, scoring.seed)
    study.lap("prune")
    record = study.record(
        subject.device,
        task=subject.task.spec.name,
        headline=every[0].measure.name,
        mode=options.mode,
        **counted(mask),
        parameters=parameters,
        rows=rows,
        curve=points,
    )
    return Found(record, mask=mask, scored=scored, checkpoint=subject.classifier._replace(model=model))
