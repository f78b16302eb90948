"""Score, choose, prune, re-evaluate: `prune-heads run`, with everything that its folder keeps."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.evaluation import predict
from prune_heads.heads import HeadMask
from prune_heads.importance import criterion_of
from prune_heads.objectives.base import Kept
from prune_heads.options import Choice, RunOptions, Scoring
from prune_heads.runs import Admit, Study, anyone
from prune_heads.studies.lab import Lab
from prune_heads.studies.pruning import chosen, compare, count_chosen, counted, curve, going_together, prune
from prune_heads.studies.scoring import ScoreResult, configuration_of, note_oracle
from prune_heads.studies.setup import identify_metric, identify_split
from prune_heads.studies.steps import note_without_heads
from prune_heads.surgery import removed_heads


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    record: dict[str, Any]
    mask: HeadMask
    scored: ScoreResult | None
    model: PreTrainedModel
    """After pruning."""
    tokenizer: Tokenizer


# long: one study from its options to its record, a stage a paragraph
def run(lab: Lab, scoring: Scoring, choice: Choice, options: RunOptions, *, admit: Admit = anyone) -> RunResult:
    """Run the main job.

    Args:
        lab: Model, task and conditions; its model is pruned, or a copy of it if the lab is reused.
        scoring: How heads are scored.
        choice: Which heads go.
        options: How they go, and what to report.
        admit: Called with the run's identity (configuration, model and data) before the long work starts; it
            may refuse by raising.

    Raises:
        PruneHeadsError: If anything that the run needs cannot be had, or a mask is not applied.
    """
    criterion_of(scoring.criterion)  # one's own that does not fit is refused before all else
    study, subject, reporter = Study("run", lab.reporter, admit), lab.subject, lab.reporter
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
    lab.prove_gates(every[0])
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
    mask = named if named is not None else chosen(choice, gone, scored.scores if scored else None, together)
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
    return RunResult(record, mask, scored, model, subject.classifier.tokenizer)
