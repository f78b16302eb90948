"""A model on a task with all that has been loaded and computed so far, for one run or for many in turn.

What was noted on the way is said again to every run that uses it, so that the record of a run does not depend on which
runs came before.
"""

from collections.abc import Callable, Hashable
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

from transformers import PreTrainedModel

from prune_heads.evaluation import Subject
from prune_heads.heads import HeadScores
from prune_heads.importance import criterion_of
from prune_heads.options import Scoring, Setup
from prune_heads.predictions import Predictions, model_key
from prune_heads.progress import Reporter
from prune_heads.studies.scoring import Scored, examples_to_score_on, score, scored
from prune_heads.studies.setup import identify_model, identify_split, load_split, load_subject, predictions_of

Share = Callable[[dict[str, Any], Callable[[], dict[str, Any]]], dict[str, Any]]
"""What something is, and how to compute it -> its value, which another process may have found before. All JSON."""
T = TypeVar("T")


class Lab:
    """Loads at first use and keeps: model, task, tokenised splits, predictions, scores.

    Args:
        setup: Model, task and conditions.
        reporter: Told about stages and notes; its notes are those of the run of now.
        share: Finds what another process has computed; None to share with none.
        reused: Whether another run follows, so that the model must stay as it is.
    """

    def __init__(self, setup: Setup, reporter: Reporter, *, share: Share | None = None, reused: bool = False) -> None:
        self.setup, self.share, self.reused, self.reporter = setup, share, reused, reporter
        self._kept: dict[Hashable, tuple[Any, list[str]]] = {}

    @property
    def subject(self) -> Subject:
        """The model on the task."""
        return self._once("subject", lambda: load_subject(self.setup, self.reporter))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """For records: the model by name and fingerprint."""
        return identify_model(self.subject.classifier)

    def predictions(self, split: str) -> Predictions:
        """The predictions on a split to report on."""

        def load() -> Predictions:
            loaded = load_split(self.setup, self.subject, split, self.reporter)
            found = predictions_of(self.setup, self.subject, loaded, self.reporter)
            self._noted(found)
            return found

        return self._once(("split", split), load)

    def examples(self, scoring: Scoring) -> Predictions | None:
        """The examples that heads are scored on; None for a criterion that looks at none."""
        if not criterion_of(scoring.criterion).needs_data:
            return None
        # Whatever else is asked for may decide which examples they are.
        key = ("examples", replace(scoring, criterion="", estimator="", normalize="", seed=0))
        load = partial(examples_to_score_on, self.subject, self.setup, scoring, self.reporter)
        return self._once(key, lambda: self._noted(load()))

    def scored(self, scoring: Scoring) -> Scored:
        """The scores, computed once. Those that another process has found come without their gradients."""
        if not criterion_of(scoring.criterion).draws:
            scoring = replace(scoring, seed=0)  # of the bootstrap alone
        return self._once(scoring, lambda: self._score(scoring))

    def prove_gates(self, predictions: Predictions) -> None:
        """See `Subject.prove_gates`; once."""
        self._once("proof", lambda: self.subject.prove_gates(predictions.batches))

    def model_to_prune(self) -> PreTrainedModel:
        """The model, to be changed: a copy where it is needed again."""
        model = self.subject.classifier.model
        return deepcopy(model) if self.reused else model

    def _score(self, scoring: Scoring) -> Scored:
        examples, found, notes = self.examples(scoring), [], len(self.reporter.notes)

        def how() -> dict[str, Any]:
            found.append(score(self.subject, scoring, examples))
            return {**found[0].scores.to_json(), "notes": self.reporter.notes[notes:]}

        shared = how() if self.share is None else self.share(self._identity(scoring, examples), how)
        if found:
            return found[0]
        for note in shared["notes"]:
            self.reporter.note(note)
        row = criterion_of(scoring.criterion)
        return scored(HeadScores.from_json(shared), None, scoring, row, self.subject, examples)

    def _identity(self, scoring: Scoring, examples: Predictions | None) -> dict[str, Any]:
        """All that was asked for, and fingerprints of what was found: an option that is added later is in it, too."""
        found = None if examples is None else (examples.key(examples.gone), identify_split(examples.split))
        source = criterion_of(scoring.criterion).source if ":" in scoring.criterion else None
        return {
            "scores_of": model_key(self.subject.model),
            "setup": repr(replace(self.setup, store=None)),
            "scoring": repr(scoring),
            **({} if source is None else {"criterion_source": source}),
            "examples": repr(found),
        }

    def _noted(self, predictions: Predictions | None) -> Predictions | None:
        """What there is to note of the padding is noted with what is loaded, and so to each run."""
        if self.reused and predictions is not None:
            _ = predictions.batches
        return predictions

    def _once(self, key: Hashable, load: Callable[[], T]) -> T:
        if key in self._kept:
            value, notes = self._kept[key]
            for note in notes:
                self.reporter.note(note)
            return value
        n = len(self.reporter.notes)
        value = load()
        self._kept[key] = (value, self.reporter.notes[n:])
        return value
