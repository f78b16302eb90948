"""Score every head of a model on a task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prune_heads.anatomy import AttentionBlock
from prune_heads.evaluation import Subject
from prune_heads.heads import NUMBERING, HeadMask, HeadScores
from prune_heads.importance import NORMALIZERS, Criterion, Examples, GateGradients, asked_masks, criterion_of
from prune_heads.options import Scoring, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.studies.setup import load_split, predictions_of
from prune_heads.studies.spreading import Spread
from prune_heads.tasks.task import Split


@dataclass(frozen=True)
class ScoreResult:
    """Scores with what they were made from."""

    scoring: Scoring
    criterion: Criterion
    blocks: list[AttentionBlock]
    """As they were when they were scored."""
    scores: HeadScores
    gradients: GateGradients | None
    split: Split | None

    def report(self) -> dict[str, Any]:
        """The JSON contract of `prune-heads score`. Rows are layers; heads in order from the first."""
        return {
            "criterion": self.criterion.name or self.scoring.criterion,
            "estimator": self.scoring.estimator if self.criterion.looks_at == "gradients" else None,
            "normalize": self.scoring.normalize,
            "split": None if self.split is None else self.split.name,
            "n_examples": 0 if self.split is None else len(self.split),
            "numbering": NUMBERING,
            "blocks": [block.describe() for block in self.blocks],
            **self.scores.to_json(),
        }


def examples_to_score_on(subject: Subject, setup: Setup, scoring: Scoring, reporter: Reporter) -> Predictions | None:
    """The examples that heads are scored on; None for a criterion that looks at none.

    Raises:
        PruneHeadsError: If the split cannot be loaded.
    """
    if not criterion_of(scoring.criterion).needs_data:
        return None
    name = scoring.score_split or subject.task.spec.score_split
    split = load_split(setup, subject, name, reporter, scoring.score_examples)
    return predictions_of(setup, subject, split, reporter)


def configuration_of(scoring: Scoring) -> dict[str, Any]:
    """For records; a criterion of one's own stands there by its name and the hash of its source, without a path."""
    row = criterion_of(scoring.criterion)
    own = {"criterion": row.name, "criterion_source": row.source} if row.name else {}
    return {**scoring.configuration(), **own}


def note_oracle(criterion: str, split: Split, reported: Sequence[Split], reporter: Reporter) -> None:
    """Say so where heads are put in order by the very answers that the order is judged by."""
    if criterion_of(criterion).looks_at == "answers" and split.name in [each.name for each in reported]:
        reporter.note(
            f"{criterion}: heads are ordered by what was measured on {split.name}, which is reported on too: an "
            "oracle, which flatters"
        )


def score(
    subject: Subject,
    scoring: Scoring,
    examples: Predictions | None = None,
    *,
    criterion: Criterion | None = None,
    masked: HeadMask | None = None,
    spread: Spread | None = None,
) -> ScoreResult:
    """Score the heads by the criterion; heads that have been removed before score 0.

    Args:
        subject: The model on the task.
        scoring: Criterion, estimator and normalisation.
        examples: What `examples_to_score_on` gives.
        criterion: One's own, which no name stands for; None for the one that `scoring` names.
        masked: Heads that count as gone, for a criterion that looks at examples.
        spread: The cluster that does what takes long; None to do it here.

    Raises:
        CriterionError: If a criterion of one's own fails, or gives no scores of these heads.
        DataError: If the criterion asks for a metric that is undefined on the examples.
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit, a loss or a gradient is NaN or infinite.
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
    asked = Examples(
        subject.model, examples, masked, scoring.estimator, scoring.seed, None if spread is None else spread.gradients
    )
    scores = NORMALIZERS[scoring.normalize].score(criterion.score(asked))
    return ScoreResult(
        scoring,
        criterion,
        subject.blocks,
        scores,
        vars(asked).get("gradients"),
        None if examples is None else examples.split,
    )
