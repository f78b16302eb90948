"""What a model answers under masks: measured once, evaluated, and two masks compared."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.ablation import predict_masks
from prune_heads.checkpoints import Exported
from prune_heads.errors import OptionError
from prune_heads.heads import HeadMask
from prune_heads.options import Masked, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.statistics import compare_paired
from prune_heads.studies.pruning import note_without_heads
from prune_heads.studies.reading import read_heads
from prune_heads.studies.scoring import Found, Lab
from prune_heads.surgery import removed_heads


class Measured:
    """What a model answers on a split under masks; what is asked for twice is computed once."""

    def __init__(self, predictions: Predictions, masks: Sequence[HeadMask], seed: int, **how: Any) -> None:
        """Under masks that hold the heads that are gone; a base metric below chance is noted.

        `seed` is of the bootstrap, `how` as for `predict_masks`.
        """
        self.predictions, self.kept = predictions, predict_masks(predictions, masks, **how)
        if predictions.gone in self.kept:
            predictions.warn_if_below_chance(self.kept[predictions.gone])
        self.value = cache(lambda mask: predictions.metric_of(self.kept[mask]))  # the headline metric
        self.interval = cache(lambda mask: predictions.interval(self.answers(mask), seed))
        """Its 95% interval, by the bootstrap."""

    def answers(self, mask: HeadMask) -> NDArray[Any]:
        """What is predicted."""
        return self.predictions.answers(self.kept[mask])

    def responses(self, masks: Iterable[HeadMask]) -> NDArray[np.float64] | None:
        """`(n_examples, n_masks)`: the objective's response; None where it is not defined."""
        of, references = self.predictions.objective.responses, self.predictions.references
        found = [each for mask in masks if (each := of(self.kept[mask], references)) is not None]
        return np.stack(found, axis=1) if found else None


def evaluate(predictions: Predictions, mask: HeadMask, seed: int = 0) -> dict[str, Any]:
    """The JSON contract of `prune-heads evaluate`; logits that the store has are not computed again.

    The intervals are those of 95% by the bootstrap, whose seed is `seed`. A `MaskNotAppliedError` if gates do not
    change the logits; a `NotFiniteError` if a logit is NaN or infinite; a `PruneHeadsError` if the store cannot be
    written.
    """
    subject, split, reporter = predictions.subject, predictions.split, predictions.reporter
    if not isinstance(subject.model, Exported):  # of which no head can be masked
        subject.prove_gates(predictions.batches)
        note_without_heads(predictions, mask)
    with reporter.stage("evaluating", predictions.batches.n_examples) as progress:
        logits = predictions.of(mask, progress)
    if not mask:
        predictions.warn_if_below_chance(logits)
    about = {"task": subject.task.spec.name, "split": split.name, "n_examples": len(split)}
    about |= {"metrics": predictions.metrics(logits), "intervals": predictions.intervals(logits, seed)}
    about |= predictions.response(logits, seed)
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
    changed = predictions.changed(*map(predictions.answers, kept.values()))
    about |= {**predictions.responses_compared(kept, seed), "changed": changed}
    return {**about, "rows": list(predictions.compared(kept, compare_paired, seed))}


def evaluate_heads(setup: Setup, options: Masked, reporter: Reporter) -> Found:
    """The task's metrics with heads masked; or of an exported model, whose heads cannot be: an `OptionError`."""
    study = Study("evaluate", reporter)
    lab = Lab(setup, reporter)
    lab.exported = True
    subject = lab.subject
    if isinstance(model := subject.model, Exported):
        if options.heads or setup.replace != "zero" or subject.objective.generates:
            must = f"an exported model ({model.file}) runs as it is: without --heads and --replace, and writes no texts"
            raise OptionError(f"{must}. Name the checkpoint that it was exported from.")
        reporter.note(f"the answers are those of {model.file}, on the CPU")
    mask = read_heads(options.heads, subject.n_heads) | removed_heads(subject.model)
    predictions = lab.predictions(options.split or subject.task.spec.eval_splits[0])
    split = predictions.split
    study.begin(setup, {"heads": mask.descriptors(), "split": split.name}, **lab.identify([split]))
    report = evaluate(predictions, mask)
    study.lap("evaluate")
    return Found(study.record(subject.device, **report), report, mask)
