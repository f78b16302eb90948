"""p-values adjusted for asking about many heads at once.

An adjusted p-value below the level is significant; nothing else need be known of the others. NaN stands for a head
that was not tested: it stays NaN and does not count.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

PValues = NDArray[np.float64]


def holm(p_values: ArrayLike) -> PValues:
    """Holm's step-down adjustment: at level alpha, the chance of any false discovery is at most alpha.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may be smaller than the one before it
    or larger than 1 (Holm, 1979). Nothing is asked of how the tests depend on each other.

    Args:
        p_values: Any shape; None or NaN where nothing was tested.

    Returns:
        The same shape.

    Raises:
        ValueError: If a p-value is not between 0 and 1.
    """
    return _adjusted(p_values, lambda p: np.maximum.accumulate(p * np.arange(len(p), 0, -1)))


def benjamini_hochberg(p_values: ArrayLike) -> PValues:
    """Benjamini and Hochberg's adjustment: at level alpha, at most that share of the discoveries is false.

    Expected share, for tests that are independent or depend positively (Benjamini and Hochberg, 1995; Benjamini
    and Yekutieli, 2001), as those of heads that share their examples may be taken to do.

    Args:
        p_values: Any shape; None or NaN where nothing was tested.

    Returns:
        The same shape.

    Raises:
        ValueError: If a p-value is not between 0 and 1.
    """

    def stepped(p: PValues) -> PValues:
        return np.minimum.accumulate((p * (len(p) / np.arange(1, len(p) + 1)))[::-1])[::-1]

    return _adjusted(p_values, stepped)


def _adjusted(p_values: ArrayLike, stepped: Callable[[PValues], PValues]) -> PValues:
    """By what makes adjusted ones of p-values from the smallest to the largest, but for those above 1."""
    adjusted = np.array(p_values, dtype=np.float64)
    tested = ~np.isnan(adjusted)
    wrong = tested & ((adjusted < 0) | (adjusted > 1))
    if wrong.any():
        raise ValueError(f"p-values must be between 0 and 1, got {adjusted[wrong].flat[0]}")
    p = adjusted[tested]
    order = np.argsort(p)
    p[order] = np.minimum(stepped(p[order]), 1.0)
    adjusted[tested] = p
    return adjusted
