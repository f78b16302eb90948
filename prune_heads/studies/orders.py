"""In which order heads go: once by a criterion, or by the criterion asked again after every step."""

from dataclasses import dataclass, replace

from prune_heads.evaluation import Subject
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import criterion_of
from prune_heads.options import Scoring
from prune_heads.predictions import Predictions
from prune_heads.selection import alone, lowest_first, select, step_counts
from prune_heads.studies.scoring import score
from prune_heads.surgery import removed_heads


@dataclass(frozen=True)
class Order:
    """What a criterion says of the heads of a model, and the masks that follow from it."""

    criterion: str | None
    """As records name it; None for scores of unknown origin."""
    estimator: str | None
    """None for a criterion that has none."""
    scored_on: str | None
    """The split; None for a criterion that looks at none."""
    rescored: bool
    scores: HeadScores
    """Of all heads, before any is pruned; of several draws, the first."""
    draws: tuple[tuple[HeadMask, ...], ...]
    """The masks at each step of the curve; one draw, but for the criterion `random`."""


def order_of(
    subject: Subject,
    scoring: Scoring,
    examples: Predictions | None,
    *,
    n_steps: int,
    n_draws: int = 1,
    rescore: bool = False,
    among: HeadMask | None = None,
) -> Order:
    """Score the heads and put them in order, lowest score first; heads that are gone go first of all.

    Args:
        subject: The model on the task.
        scoring: The criterion.
        examples: To score on; None for a criterion that looks at none.
        n_steps: From no head to all, of those that may go.
        n_draws: Of the criterion `random`, with the seeds `scoring.seed`, `scoring.seed + 1`, ...
        rescore: Score again at every step, with the heads masked that went before, as the authors' exact mode
            does. A head that has gone stays so. Criteria that look at no data say the same of a head whatever
            the others do; they are asked once.
        among: The heads that may go; None for all.

    Raises:
        PruneHeadsError: See `score`.
    """
    gone = removed_heads(subject.model)
    first = score(subject, scoring, examples).scores
    if rescore and examples is not None:
        draws = [_rescored(subject, scoring, examples, first, step_counts(gone, n_steps, among), among)]
    elif scoring.criterion == "random":
        seeds = range(scoring.seed, scoring.seed + n_draws)
        every = (score(subject, replace(scoring, seed=seed)).scores for seed in seeds)
        draws = [lowest_first(scores, gone, n_steps, among=among) for scores in every]
    else:
        draws = [lowest_first(first, gone, n_steps, among=among)]
    asked = scoring.configuration()
    return Order(
        asked["criterion"],
        asked["estimator"],
        None if examples is None else examples.split.name,
        rescore and criterion_of(scoring.criterion).needs_data,
        first,
        tuple(map(tuple, draws)),
    )


def _rescored(
    subject: Subject,
    scoring: Scoring,
    examples: Predictions,
    scores: HeadScores,
    counts: list[int],
    among: HeadMask | None,
) -> list[HeadMask]:
    """The masks at each count; `scores` are those of the model as it is."""
    masks = [examples.gone]
    for n in counts[1:]:
        before = masks[-1]
        is_choice = len(before) < n < counts[-1]
        if is_choice and before != examples.gone:
            scores = score(subject, scoring, examples, masked=before).scores
        masks.append(select(scores, n, gone=before, units=None if among is None else alone(among)))
    return masks
