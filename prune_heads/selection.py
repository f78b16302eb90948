"""From scores to masks: which heads go first."""

import numpy as np

from prune_heads.errors import HeadDescriptorError, NotFiniteError
from prune_heads.heads import Head, HeadMask, HeadScores


def count_for_fraction(n_total: int, fraction: float) -> int:
    """How many of `n_total` heads are `fraction` of them: the authors' `int(144 * p / 100)`, rounded down.

    Raises:
        ValueError: If the fraction is not between 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of heads must be between 0 and 1; got {fraction}")
    percent = round(fraction * 100, 9)  # 0.29 * 100 is 28.999..., which would lose a head
    return int(round(n_total * percent / 100, 9))


def select(
    scores: HeadScores, n_pruned: int, *, min_per_layer: int = 0, gone: HeadMask | None = None
) -> HeadMask:
    """Prune the `n_pruned` heads of lowest score; ties go in order of layer and head.

    Args:
        scores: Higher = more important.
        n_pruned: How many heads to prune.
        min_per_layer: In every block the best heads, this many, are spared.
        gone: Heads that the model has lost before; they are part of the mask and of its count.

    Raises:
        HeadDescriptorError: If so many heads cannot be pruned.
        NotFiniteError: If a score is NaN or infinite, since it has no place in the order.
    """
    if not np.isfinite(scores.flat()).all():
        raise NotFiniteError("scores must be finite to be put in order; got NaN or infinity")
    places = [(block, head) for block, n in enumerate(scores.n_heads) for head in range(n)]
    lost = (gone or HeadMask(scores.n_heads)).pruned
    ranked = [places[i] for i in np.argsort(scores.flat(), kind="stable") if places[i] not in lost]
    spared: set[Head] = set()
    for block in range(len(scores.n_heads)):
        row = [place for place in ranked if place[0] == block]
        spared.update(row[max(0, len(row) - min_per_layer) :])
    order = [*sorted(lost), *(place for place in ranked if place not in spared)]
    if not len(lost) <= n_pruned <= len(order):
        kept = f" with {min_per_layer} kept in every layer" if min_per_layer else ""
        raise HeadDescriptorError(
            f"between {len(lost)} and {len(order)} of {len(places)} heads can be pruned{kept}; got {n_pruned}"
        )
    return HeadMask(scores.n_heads, frozenset(order[:n_pruned]))
