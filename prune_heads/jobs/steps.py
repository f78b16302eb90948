"""The jobs of `prune-heads score`, `prune` and `evaluate`: the steps of a run, joined by their files."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from prune_heads.errors import RunError
from prune_heads.execution.cluster import connected
from prune_heads.execution.shards import Shards
from prune_heads.files import new_directory, read_json, write_json
from prune_heads.heads import HeadScores
from prune_heads.jobs.folder import HEADS_FILE, write_checkpoint, write_scores
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, check_output, record_of
from prune_heads.studies.clock import Clock
from prune_heads.studies.evaluating import evaluate
from prune_heads.studies.pruning import Choice, Mode, going_together, prune, read_heads
from prune_heads.studies.scoring import Scoring, examples_to_score_on, score
from prune_heads.studies.setup import Setup, identify, identify_model
from prune_heads.studies.spreading import Spread
from prune_heads.surgery import removed_heads


def score_job(
    setup: Setup,
    scoring: Scoring,
    reporter: Reporter,
    *,
    output: Path | None = None,
    overwrite: bool = False,
    shards: Shards | None = None,
) -> dict[str, Any]:
    """Score the heads; `output` gets scores.json, the gradients of each example and a heat map.

    Args:
        setup: Model, task, conditions and store.
        scoring: Criterion, estimator and normalisation.
        reporter: Told about stages and notes.
        output: The folder.
        overwrite: Replace a different run in it.
        shards: Do the long part of a criterion that looks at examples; None for this process.

    Raises:
        PruneHeadsError: If the heads cannot be scored, or `output` holds something else.
    """
    clock = Clock()
    spread = None if shards is None else Spread(setup, shards, reporter)
    with nullcontext() if shards is None else connected(shards.address):  # first of all: it may not be there
        subject = setup.load(reporter)
        examples = examples_to_score_on(subject, setup, scoring, reporter)
        identity = {
            "configuration": {**setup.configuration(), **scoring.configuration()},
            **identify(subject, [] if examples is None else [examples.split]),
        }
        check_output(output, identity, overwrite=overwrite)
        clock.lap("load")
        scored = score(subject, scoring, examples, spread=spread)
        clock.lap("score")
    if output is not None:
        with new_directory(output) as folder:
            record = record_of("score", identity, reporter, clock.seconds, subject.device)
            write_json(folder / RECORD_FILE, record)
            write_scores(scored, folder)
    return scored.report()


def prune_job(
    setup: Setup,
    choice: Choice,
    mode: Mode,
    reporter: Reporter,
    *,
    scores: Path | None,
    output: Path,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Zero or remove heads, named or chosen by a scores.json, and write the checkpoint; no data are needed.

    Raises:
        PruneHeadsError: If the model, the heads or the scores cannot be read, or `output` holds something else.
    """
    clock = Clock()
    classifier = setup.load_model(reporter)
    gone = removed_heads(classifier.model)
    together = going_together(classifier.model, choice, mode, reporter)
    mask = choice.mask(gone, None if scores is None else read_scores(scores, gone.n_heads), together)
    identity = {
        "configuration": {
            "model": classifier.name,
            "heads": mask.descriptors(),
            "mode": mode,
            "dtype": setup.dtype,
        },
        **identify_model(classifier),
    }
    check_output(output, identity, overwrite=overwrite)
    parameters = prune(classifier.model, mask, mode, classifier.probe_inputs())
    clock.lap("prune")
    found = {
        "mode": mode,
        "n_heads": mask.n_total,
        "n_pruned": len(mask),
        "heads_pruned": mask.descriptors(),
        "parameters": parameters,
    }
    record = record_of("prune", identity, reporter, clock.seconds, classifier.model.device, **found)
    with new_directory(output) as folder:
        write_json(folder / RECORD_FILE, record)
        write_json(folder / HEADS_FILE, mask.to_json())
        write_checkpoint(classifier.model, classifier.tokenizer, folder)
    return record


def evaluate_job(
    setup: Setup,
    heads: str,
    split: str | None,
    reporter: Reporter,
    *,
    output: Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """The task's metrics with heads masked; `output` gets the record.

    Raises:
        PruneHeadsError: If the model cannot be evaluated so, or `output` holds something else.
    """
    clock = Clock()
    subject = setup.load(reporter)
    mask = read_heads(heads, subject.n_heads) | removed_heads(subject.model)
    loaded = setup.load_split(subject, split or subject.task.spec.eval_splits[0], reporter)
    identity = {
        "configuration": {**setup.configuration(), "heads": mask.descriptors(), "split": loaded.name},
        **identify(subject, [loaded]),
    }
    check_output(output, identity, overwrite=overwrite)
    clock.lap("load")
    report = evaluate(setup.predictions(subject, loaded, reporter), mask)
    clock.lap("evaluate")
    if output is not None:
        with new_directory(output) as folder:
            record = record_of("evaluate", identity, reporter, clock.seconds, subject.device, **report)
            write_json(folder / RECORD_FILE, record)
            write_json(folder / HEADS_FILE, mask.to_json())
    return report


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
