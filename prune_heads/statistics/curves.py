"""One number for a pruning curve."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shares_pruned(counts: ArrayLike) -> NDArray[np.float64]:
    """Where the points of a curve stand: 0 at its first, 1 at its last, by the heads that are gone at each.

    Not by the percent that was asked for, which is rounded down to whole heads: 10% of 24 heads is 2 of them, 8.3%.

    Args:
        counts: `(n_points,)` heads that are pruned at each point; they do not decrease.

    Returns:
        `(n_points,)`; all 0 where no point prunes more than the first.
    """
    n = np.asarray(counts, dtype=np.float64)
    return np.asarray((n - n[0]) / max(n[-1] - n[0], 1))


def area_under_curve(fractions: ArrayLike, values: ArrayLike) -> float:
    """Area under a metric against the share of heads pruned: its mean over the curve, by the trapezoid rule.

    The area is divided by the span of the fractions. From 0 to 1 this changes nothing; a curve that ends early, for
    every layer must keep some heads, then stays on the metric's scale. Compare only curves of the same span. A
    single point has its own value, the limit of a span that shrinks. A share that comes several times, as where steps
    are finer than a head, counts once.

    Args:
        fractions: `(n_points,)` shares of heads pruned, from 0 to 1, none below the one before; see `shares_pruned`.
        values: `(n_points,)` metric there.

    Raises:
        ValueError: If there is no point, the lengths differ, the fractions decrease or leave [0, 1], one share has
            two values, or a value is not finite.
    """
    x, y = np.asarray(fractions, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) == 0:
        raise ValueError(f"a curve must have as many fractions as values, and some, got {x.shape} and {y.shape}")
    if not (np.all(np.diff(x) >= 0) and x[0] >= 0 and x[-1] <= 1):
        raise ValueError(f"fractions must increase from 0 to 1, got {x.tolist()}")
    if not np.isfinite(y).all():
        raise ValueError(f"values must be finite, got {y.tolist()}")
    if np.any((np.diff(x) == 0) & (np.diff(y) != 0)):
        raise ValueError(f"a share must have one value, got {y.tolist()} at {x.tolist()}")
    span = x[-1] - x[0]
    return float(y[0]) if span == 0 else float(np.trapezoid(y, x) / span)
