"""One number for a pruning curve."""

import numpy as np
from numpy.typing import ArrayLike


def area_under_curve(fractions: ArrayLike, values: ArrayLike) -> float:
    """Area under a metric against the share of heads pruned: its mean over the curve, by the trapezoid rule.

    The area is divided by the span of the fractions. From 0 to 1 this changes nothing; a curve that ends early, for
    every layer must keep some heads, then stays on the metric's scale. Compare only curves of the same span. A
    single point has its own value, the limit of a span that shrinks.

    Args:
        fractions: `(n_points,)` shares of heads pruned, increasing, from 0 to 1.
        values: `(n_points,)` metric there.

    Raises:
        ValueError: If there is no point, the lengths differ, the fractions do not increase or leave [0, 1], or a
            value is not finite.
    """
    x, y = np.asarray(fractions, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) == 0:
        raise ValueError(
            f"a curve must have as many fractions as values, and some, got {x.shape} and {y.shape}"
        )
    if not (np.all(np.diff(x) > 0) and x[0] >= 0 and x[-1] <= 1):
        raise ValueError(f"fractions must increase from 0 to 1, got {x.tolist()}")
    if not np.isfinite(y).all():
        raise ValueError(f"values must be finite, got {y.tolist()}")
    return float(y[0]) if len(x) == 1 else float(np.trapezoid(y, x) / (x[-1] - x[0]))
