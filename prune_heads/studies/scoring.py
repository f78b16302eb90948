"""Score every head of a model on a task; a lab keeps what was loaded and computed, for one run or for several."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from prune_heads.ablation.mixed import check_margins
from prune_heads.checkpoints import Checkpoint, fingerprint
from prune_heads.errors import OptionError
from prune_heads.evaluation import Subject
from prune_heads.heads import NUMBERING, HeadMask, HeadScores
from prune_heads.importance import NORMALIZERS, Criterion, Examples, GateGradients, criterion_of
from prune_heads.importance.criteria import asked_masks
from prune_heads.objectives.replacing import Replacement, measure
from prune_heads.options import Cluster, Scoring, Setup
from prune_heads.predictions import Predictions, model_key
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.studies.setup import costs_of, identify, identify_split, load_split, load_subject, predictions_of
from prune_heads.studies.spreading import Spread, spread_over
from prune_heads.tasks.task import Split

Share = Callable[[dict[str, Any], Callable[[], dict[str, Any]]], dict[str, Any]]
"""What something is, and how to compute it -> its value, which another process may have found before. All JSON."""
T = TypeVar("T")
MOST_REPLACING = 5000  # examples that what stands in for masked heads is measured on, at most


class Scored(NamedTuple):
    """Scores, the gradients they come from (of a criterion that takes some), and what else they were made from."""

    scores: HeadScores
    gradients: GateGradients | None
    about: dict[str, Any]

    def report(self) -> dict[str, Any]:
        """The JSON contract of `prune-heads score`. Rows are layers; heads in order from the first."""
        return {**self.about, "numbering": NUMBERING, **self.scores.to_json()}


@dataclass(frozen=True)
class Found:
    """What a study leaves: its record, and what its files are made of."""

    record: dict[str, Any]
    report: dict[str, Any] | None = None  # what `--json` prints; None for the record
    mask: HeadMask | None = None  # heads that are pruned or masked
    scored: Scored | None = None
    checkpoint: Checkpoint | None = None  # after pruning
    details: bool = False  # whether people want to see all of it
    examples: Callable[[], str] | None = None  # makes the file of the examples that change most, see `changed`


def configuration_of(scoring: Scoring) -> dict[str, Any]:
    """For records; a criterion of one's own stands there by its name and the hash of its source, without a path."""
    row = criterion_of(scoring.criterion)
    own = {"criterion": row.name, "criterion_source": row.source} if row.name else {}
    return {**scoring.configuration(), **own}


def names_of_own(rows: Mapping[str, Criterion]) -> tuple[dict[str, str], dict[str, Any]]:
    """How records call criteria, and what they say of one's own: names without a path, and hashes of their sources."""
    shown = [row.name or name for name, row in rows.items()]
    if len({*shown}) < len(shown):  # files of one name in several folders
        shown = list(rows)
    said = dict(zip(rows, shown, strict=True))
    sources = {said[name]: row.source for name, row in rows.items() if row.name}
    return said, {"criteria": shown, "criterion_source": sources} if sources else {}


def note_oracle(criterion: str, split: Split, reported: Sequence[Split], reporter: Reporter) -> None:
    """Say so where heads are put in order by the very answers that the order is judged by."""
    if criterion_of(criterion).looks_at in ("answers", "masks") and split.name in [each.name for each in reported]:
        why = f"heads are ordered by what was measured on {split.name}, which is reported on too"
        reporter.note(f"{criterion}: {why}: an oracle, which flatters")


def score(
    subject: Subject,
    scoring: Scoring,
    examples: Predictions | None = None,
    *,
    criterion: Criterion | None = None,
    masked: HeadMask | None = None,
    spread: Spread | None = None,
    asked: Examples | None = None,
) -> Scored:
    """Score the heads by the criterion; heads that have been removed before score 0.

    Args:
        subject: The model on the task.
        scoring: Criterion, estimator and normalisation.
        examples: What `Lab.examples` gives.
        criterion: One's own, which no name stands for; None for the one that `scoring` names.
        masked: Heads that count as gone, for a criterion that looks at examples.
        spread: The cluster that does what takes long; None to do it here.
        asked: What the criterion is `given`, of the same examples and conditions: it may keep what others computed.
            None for anew.

    Raises:
        CriterionError: If a criterion of one's own fails, or gives no scores of these heads.
        DataError: If the criterion asks for a metric that is undefined on the examples.
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit, a loss, a gradient or a score is NaN or infinite.
    """
    criterion = criterion or criterion_of(scoring.criterion)
    if not criterion.needs_data:
        examples = None
    if examples is not None and criterion.looks_at == "answers":
        examples.check_defined()  # the masks are proved where they are computed
        if spread is not None:
            spread.answers([(examples, asked_masks(examples, masked))])
    elif examples is not None:
        subject.prove_gates(examples.batches)
    asked = asked or given(subject, scoring, examples, masked, differentiate=spread and spread.gradients)
    cure = ". Try --dtype float32, and check the checkpoint's weights"
    scores = criterion.score(asked).check_finite(f"the scores of {scoring.criterion}", cure)
    scores = NORMALIZERS[scoring.normalize].score(scores)
    return Scored(scores, vars(asked).get("_differentiated"), _about(scoring, criterion, subject, examples))


def given(
    subject: Subject, scoring: Scoring, examples: Predictions | None, masked: HeadMask | None = None, **more: Any
) -> Examples:
    """What criteria are given under these options; those that are given the same share what they compute."""
    how = {name: getattr(scoring, name) for name in ("estimator", "seed", "response", "masks", "updates")}
    return Examples(subject.model, examples, masked, **how, **more)


def _about(scoring: Scoring, criterion: Criterion, subject: Subject, examples: Predictions | None) -> dict[str, Any]:
    return {
        "criterion": criterion.name or scoring.criterion,
        "estimator": scoring.estimator if criterion.looks_at == "gradients" else None,
        **({"response": scoring.response} if scoring.response != "metric" else {}),
        "normalize": scoring.normalize,
        "split": None if examples is None else examples.split.name,
        "n_examples": 0 if examples is None else len(examples.split),
        "blocks": tuple(block.describe() for block in subject.blocks),
    }


class Lab:
    """A model on a task: loads at first use, and keeps splits, predictions and scores.

    What was noted on the way is said again to every run that uses it, so that the record of a run does not depend on
    which runs came before.

    Args:
        setup: Model, task and conditions.
        reporter: Told about stages and notes; its notes are those of the run of now.
        seed: Of what stands in for masked heads, where that is drawn.
        share: Finds what another process has computed; None to share with none.
        reused: Whether another run follows, so that the model must stay as it is.
    """

    exported = False
    """Whether the model may be an exported one, which can only be run; to be set before anything is asked."""

    def __init__(
        self, setup: Setup, reporter: Reporter, *, seed: int = 0, share: Share | None = None, reused: bool = False
    ) -> None:
        self.setup, self.share, self.reused, self.reporter = setup, share, reused, reporter
        self.scoring = Scoring(seed=seed)  # on the examples of which what stands in for masked heads is measured
        self._kept: dict[Hashable, tuple[Any, list[str]]] = {}

    @property
    def subject(self) -> Subject:
        """The model on the task."""
        return self.once("subject", lambda: load_subject(self.setup, self.reporter, exported=self.exported))

    def predictions(self, split: str, limit: int | None = None) -> Predictions:
        """The predictions on a split, cut at `limit` or as the setup says."""

        def load() -> Predictions:
            found = self.of(load_split(self.setup, self.subject, split, self.reporter, limit))
            if self.reused:  # what there is to note of the padding is noted with what is loaded, and so to each run
                _ = found.batches
            return found

        return self.once(("split", split, limit, self.replacement), load)

    def of(self, split: Split) -> Predictions:
        """The predictions on a split that is loaded; an `UnfitError` of two precisions where answers have no margin."""
        found = predictions_of(self.setup, self.subject, split, self.reporter, self.replacement)
        if self.setup.dtype == "mixed":
            check_margins(found.subject)
            found.lower = lambda: self._lower.of(split)
        return found

    def part(self, whole: Predictions, places: Sequence[int]) -> Predictions:
        """Those on the examples at these places; what the store has of the whole is not computed again."""
        found = self.of(whole.split.at(places))
        found.whole = whole, places
        return found

    @property
    def _lower(self) -> "Lab":
        """The same in bfloat16."""
        lower = self.once("lower", lambda: Lab(replace(self.setup, dtype="bfloat16"), self.reporter))
        lower.scoring = self.scoring
        return lower

    @property
    def replacement(self) -> Replacement | None:
        """What stands in for masked heads; None for nothing."""
        return None if self.setup.replace == "zero" else self._replacing()[0]

    def identify(self, splits: Sequence[Split]) -> dict[str, Any]:
        """See `identify`; also the data that what stands in was measured on, where something does."""
        of_replacement = {} if self.replacement is None else {"replaced_by": identify_split(self._replacing()[1])}
        return identify(self.subject, splits) | of_replacement

    def _replacing(self) -> tuple[Replacement, Split]:
        name, how = self.scoring.score_split or self.subject.task.spec.score_split, self.setup
        limit = min(self.scoring.score_examples or how.max_examples or MOST_REPLACING, MOST_REPLACING)
        seed = self.scoring.seed if how.replace == "resample" else 0

        def load() -> tuple[Replacement, Split]:
            split = load_split(how, self.subject, name, self.reporter, limit)
            batches = predictions_of(how, self.subject, split, self.reporter).batches
            given = {"mean": "their mean over", "position-mean": "their mean at each place of"}
            said = given.get(how.replace, "what they do, in one more pass a batch, for others of")
            self.reporter.note(f"masked heads give {said} {len(split)} examples of {name}")
            with self.reporter.stage("what stands in", batches.n_examples) as progress:
                return measure(self.subject.model, batches, how.replace, seed, progress=progress), split

        return self.once(("replacing", name, limit, seed), load)

    def reported(self, names: Sequence[str]) -> list[Predictions]:
        """Those on the splits to report on; no name stands for the task's own."""
        return [self.predictions(name) for name in names or self.subject.task.spec.eval_splits]

    def examples(self, scoring: Scoring) -> Predictions | None:
        """Those on the examples that heads are scored on; None for a criterion that looks at none."""
        if not criterion_of(scoring.criterion).needs_data:
            return None
        return self.predictions(scoring.score_split or self.subject.task.spec.score_split, scoring.score_examples)

    def scored(self, scoring: Scoring) -> Scored:
        """The scores, computed once. Those that another process has found come without their gradients."""
        if not criterion_of(scoring.criterion).draws and self.setup.replace != "resample":
            scoring = replace(scoring, seed=0)  # of the bootstrap alone
        return self.once(scoring, lambda: self._score(scoring))

    def once(self, key: Hashable, load: Callable[[], T]) -> T:
        """What was loaded under this key before, with its notes; or loads it."""
        if key in self._kept:
            value, notes = self._kept[key]
            self.reporter.note(*notes)
            return value
        n = len(self.reporter.notes)
        value = load()
        self._kept[key] = (value, self.reporter.notes[n:])
        return value

    def _score(self, scoring: Scoring) -> Scored:
        examples, found, notes = self.examples(scoring), list[Scored](), len(self.reporter.notes)

        def how() -> dict[str, Any]:
            found.append(score(self.subject, scoring, examples))
            return {**found[0].scores.to_json(), "notes": self.reporter.notes[notes:]}

        shared = how() if self.share is None else self.share(self._identity(scoring, examples), how)
        if found:
            return found[0]
        self.reporter.note(*shared["notes"])
        about = _about(scoring, criterion_of(scoring.criterion), self.subject, examples)
        return Scored(HeadScores.from_json(shared), None, about)

    def _identity(self, scoring: Scoring, examples: Predictions | None) -> dict[str, Any]:
        """All that was asked for, and fingerprints of what was found: an option that is added later is in it, too."""
        found = None if examples is None else (examples.key(examples.gone), identify_split(examples.split))
        source = criterion_of(scoring.criterion).source if ":" in scoring.criterion else None
        own, setup = {} if source is None else {"criterion_source": source}, repr(replace(self.setup, store=None))
        about = {"scores_of": model_key(self.subject.model), "setup": setup, "scoring": repr(scoring)}
        return {**about, **own, "examples": repr(found)}


def score_heads(setup: Setup, scoring: Scoring, cluster: Cluster, reporter: Reporter) -> Found:
    """Score the heads, here or on a cluster."""
    criterion = criterion_of(scoring.criterion)  # one's own that does not fit is refused before all else
    if setup.dtype == "mixed" and criterion.looks_at != "answers":
        raise OptionError(f"--dtype mixed is for --criterion ablation; {scoring.criterion} runs in one precision")
    study = Study("score", reporter)
    is_spread = criterion.looks_at in ("gradients", "answers")
    with spread_over(setup, cluster if is_spread else Cluster(), reporter) as spread:
        lab = Lab(setup, reporter)
        lab.scoring = scoring
        subject, examples = lab.subject, lab.examples(scoring)
        splits = [] if examples is None else [examples.split]
        study.begin(setup, configuration_of(scoring), **lab.identify(splits))
        scored = score(subject, scoring, examples, spread=spread)
    if lab.replacement is not None and lab.replacement.kind == "mean":
        means = [None if each is None else each.tolist() for each in lab.replacement.means]
        scored.about["means"] = {"model": fingerprint(subject.model), "of": means}
    study.lap("score")
    record = study.record(subject.device, task=subject.task.spec.name, costs=costs_of(subject.classifier))
    if cluster.shards is not None and not is_spread:  # not in the record, which is the same wherever made
        reporter.note(f"{scoring.criterion} is done here, not on a cluster")
    return Found(record, scored.report(), scored=scored)
