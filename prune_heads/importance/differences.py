"""Scores by measurement: what the metric loses when one head is masked (paper, sections 3.2 and 4.1)."""

import numpy as np

from prune_heads.ablation import ablations, predict_masks
from prune_heads.descriptors import Head
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.estimators import standard_error
from prune_heads.predictions import Predictions


def asked_masks(predictions: Predictions, masked: HeadMask | None = None) -> list[HeadMask]:
    """The masks under which `difference_scores` needs predictions."""
    start, masks = _asked(predictions, masked)
    return [start, *masks.values()]


def _asked(predictions: Predictions, masked: HeadMask | None) -> tuple[HeadMask, dict[Head, HeadMask]]:
    start = predictions.gone if masked is None else predictions.gone | masked
    return start, ablations("without-one", start)


def difference_scores(predictions: Predictions, masked: HeadMask | None = None) -> HeadScores:
    """The headline metric minus the metric without the head, for each head that is left.

    The standard error is that of the mean of the paired differences of the examples, of a metric that is a mean, such
    as accuracy; other metrics have none.

    Args:
        predictions: Of the split to measure on; what the store knows is not computed again.
        masked: Heads, in the original numbering, that are masked throughout; they count as gone.

    Raises:
        PruneHeadsError: See `predict_masks`.
    """
    start, masks = _asked(predictions, masked)
    found = predict_masks(predictions, [start, *masks.values()])

    def value(mask: HeadMask) -> float:
        return predictions.metric_of(found[mask])

    base, scores = value(start), np.zeros(len(masks))
    for i, mask in enumerate(masks.values()):
        scores[i] = base - value(mask)
    errors = None
    each = predictions.measure.each
    if each is not None:
        truth = predictions.references
        before, *after = (
            each(predictions.answers(found[mask]), truth).astype(float) for mask in (start, *masks.values())
        )
        errors = standard_error(np.stack([before - one for one in after], axis=1))
    return HeadScores.of_the_rest(scores, start, errors)
