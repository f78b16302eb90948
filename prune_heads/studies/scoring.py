"""Score every head of a model on a task."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from prune_heads.anatomy import AttentionBlock
from prune_heads.evaluation import Subject
from prune_heads.heads import NUMBERING, HeadScores
from prune_heads.importance import CRITERIA, NORMALIZERS, GateGradients, Question
from prune_heads.progress import Reporter
from prune_heads.studies.setup import Setup
from prune_heads.tasks.task import Split


@dataclass(frozen=True)
class Scoring:
    """How heads are scored, as asked for."""

    criterion: str = "gradient"
    estimator: str = "example"
    normalize: str = "none"
    seed: int = 0
    split: str | None = None
    """None: the task's split for scoring, which is its training split."""
    max_examples: int | None = None
    """None: as in the `Setup`."""

    def configuration(self) -> dict[str, Any]:
        """For records: what can change the scores."""
        needs_data = CRITERIA[self.criterion].needs_data
        return {
            "criterion": self.criterion,
            "estimator": self.estimator if needs_data else None,
            "normalize": self.normalize,
            "seed": self.seed,
            "score_split": self.split,
            "score_examples": self.max_examples,
        }


@dataclass(frozen=True)
class ScoreResult:
    """Scores in the original numbering of the heads, with what they were made from."""

    scoring: Scoring
    blocks: list[AttentionBlock]
    """As they were when they were scored."""
    scores: HeadScores
    gradients: GateGradients | None
    split: Split | None

    def report(self) -> dict[str, Any]:
        """The JSON contract of `prune-heads score`. Rows are layers; heads in order from the first."""
        return {
            "criterion": self.scoring.criterion,
            "estimator": self.scoring.configuration()["estimator"],
            "normalize": self.scoring.normalize,
            "split": None if self.split is None else self.split.name,
            "n_examples": 0 if self.split is None else len(self.split.dataset),
            "numbering": NUMBERING,
            "blocks": [block.describe() for block in self.blocks],
            **self.scores.to_json(),
        }


def split_to_score_on(subject: Subject, setup: Setup, scoring: Scoring, reporter: Reporter) -> Split | None:
    """The examples that heads are scored on; None for a criterion that looks at none.

    Raises:
        PruneHeadsError: If the split cannot be loaded.
    """
    if not CRITERIA[scoring.criterion].needs_data:
        return None
    name = scoring.split or subject.task.spec.score_split
    return setup.load_split(subject, name, reporter, scoring.max_examples)


def score(subject: Subject, scoring: Scoring, split: Split | None, reporter: Reporter) -> ScoreResult:
    """Score the heads by the criterion on `split_to_score_on`; heads that have been removed before score 0.

    Raises:
        MaskNotAppliedError: If gates do not change the logits.
        NotFiniteError: If a logit, a loss or a gradient is NaN or infinite.
    """
    criterion = CRITERIA[scoring.criterion]
    batches = None
    if split is not None:
        batches = subject.batches(split)
        subject.prove_gates(batches)
    with reporter.stage("scoring", batches.n_examples if batches else 0) as progress:
        scored = criterion.score(
            Question(
                model=subject.model,
                batches=batches,
                estimator=scoring.estimator,
                batch_size=subject.batch_size,
                seed=scoring.seed,
                progress=progress,
            )
        )
    blocks = subject.blocks
    scores = NORMALIZERS[scoring.normalize].apply(_in_original_numbering(scored.scores, blocks))
    return ScoreResult(scoring, blocks, scores, scored.gradients, split)


def _in_original_numbering(scores: HeadScores, blocks: list[AttentionBlock]) -> HeadScores:
    def spread(rows: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        wide = tuple(np.zeros(block.n_original_heads) for block in blocks)
        for block, row, target in zip(blocks, rows, wide, strict=True):
            target[list(block.original_heads)] = row
        return wide

    errors = scores.standard_error
    return HeadScores(spread(scores.values), None if errors is None else spread(errors))
