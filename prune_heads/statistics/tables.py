"""What is said of all heads together: p-values adjusted how two tables agree, one number for a curve."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

PValues = NDArray[np.float64]


def holm(p_values: ArrayLike) -> PValues:
    """Holm's step-down adjustment: at level alpha, the chance of any false discovery is at most alpha.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may be smaller than the one before it
    or larger than 1 (Holm, 1979). Nothing is asked of how the tests depend on each other.

    Args:
        p_values: Any shape; None or NaN where nothing was tested, which stays NaN and does not count.

    Returns:
        The same shape. A p-value below the level is significant.

    Raises:
        ValueError: If a p-value is not between 0 and 1.
    """
    return _adjusted(p_values, lambda p: np.maximum.accumulate(p * np.arange(len(p), 0, -1)))


def benjamini_hochberg(p_values: ArrayLike) -> PValues:
    """Benjamini and Hochberg's adjustment: at level alpha, at most that share of the discoveries is false.

    Expected share, for tests that are independent or depend positively (Benjamini and Hochberg, 1995; Benjamini
    and Yekutieli, 2001), as those of heads that share their examples may be taken to do. Arguments as for `holm`.
    """
    return _adjusted(p_values, lambda p: np.minimum.accumulate((p * (len(p) / np.arange(1, len(p) + 1)))[::-1])[::-1])


def _adjusted(p_values: ArrayLike, stepped: Callable[[PValues], PValues]) -> PValues:
    """By what makes adjusted ones of p-values from the smallest to the largest, but for those above 1."""
    adjusted = np.array(p_values, dtype=np.float64)
    tested = ~np.isnan(adjusted)
    p = adjusted[tested]
    if wrong := p[(p < 0) | (p > 1)].tolist():
        raise ValueError(f"p-values must be between 0 and 1, got {wrong[0]}")
    order = np.argsort(p)
    p[order] = np.minimum(stepped(p[order]), 1.0)
    adjusted[tested] = p
    return adjusted


def correlate(first: ArrayLike, second: ArrayLike) -> dict[str, Any]:
    """How two tables of the same heads agree, with intervals of 95% (paper, figure 2).

    Pearson's interval is Fisher's. Spearman's is Fisher's with the standard error sqrt((1 + r^2 / 2) / (n - 3)) of
    Bonett and Wright (2000, Psychometrika 65, 23-28). Both treat heads as drawn independently.

    Args:
        first: Any shape, e.g. `(n_layers, n_heads)`; None or NaN for a head that was not measured, which is left out.
        second: The same shape.

    Returns:
        `{"n_heads", "pearson": {"value", "low", "high"}, "spearman": {...}}`, of the heads that were measured on both
        sides. A correlation is undefined with fewer than four heads, for which there is no interval, or where one
        side is constant: its numbers are None, never NaN.

    Raises:
        ValueError: If the shapes differ or a value is infinite.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"both sides must be of the same heads, got shapes {a.shape} and {b.shape}")
    if np.isinf(a).any() or np.isinf(b).any():
        raise ValueError("both sides must be finite or not measured, got infinity")
    measured = ~(np.isnan(a) | np.isnan(b))
    a, b = a[measured], b[measured]
    n = len(a)
    # Alike but for rounding, a side gives a correlation of rounding errors (SciPy warns there).
    if n < 4 or any(np.ptp(side) <= 1e-11 * np.abs(side).max() for side in (a, b)):
        nothing = dict.fromkeys(("value", "low", "high"))
        return {"n_heads": n, "pearson": nothing, "spearman": {**nothing}}
    pearson = scipy.stats.pearsonr(a, b)
    return {
        "n_heads": n,
        "pearson": _estimate(pearson.statistic, *pearson.confidence_interval(0.95)),
        "spearman": _spearman(scipy.stats.spearmanr(a, b).statistic, n),
    }


def _estimate(*numbers: float) -> dict[str, float | None]:
    return dict(zip(("value", "low", "high"), map(float, numbers), strict=True))


def _spearman(r: float, n: int) -> dict[str, float | None]:
    """With its interval, of `n` heads that are free; see `correlate`."""
    r = float(np.clip(r, -1, 1))
    if abs(r) == 1:  # where Fisher's transformation is infinite, the interval is the point, as for Pearson
        return _estimate(r, r, r)
    half = scipy.stats.norm.ppf(0.975) * np.sqrt((1 + r**2 / 2) / (n - 3))
    return _estimate(r, np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half))


def correlate_within(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> dict[str, float | None]:
    """Spearman's correlation within groups, such as layers: that of ranks from which the mean of the group is taken.

    The partial correlation of ranks given the group. Its 95% interval is that of `correlate`, with a head less for
    each group but one. All are `(n,)`; None or NaN stands for what was not measured.

    Returns:
        `{"value", "low", "high"}`, all None with too few heads, or where a side is constant within each group.
    """
    a, b, groups = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64), np.asarray(groups)
    there = ~(np.isnan(a) | np.isnan(b))
    group = np.unique(groups[there], return_inverse=True)[1]
    counts = np.bincount(group)
    n = len(group) - max(0, len(counts) - 1)
    ranked = [scipy.stats.rankdata(side[there]) for side in (a, b)]
    sides = [ranks - (np.bincount(group, ranks) / counts)[group] for ranks in ranked if len(group)] or ranked
    lengths = [float(np.sqrt(side @ side)) for side in sides]
    if n < 4 or min(lengths) <= 1e-9:
        return dict.fromkeys(("value", "low", "high"))
    return _spearman(sides[0] @ sides[1] / (lengths[0] * lengths[1]), n)


def correlate_pairs(first: ArrayLike, second: ArrayLike, ends: ArrayLike) -> dict[str, Any]:
    """Spearman's correlation of two measurements of pairs, with an interval of 95% for pairs that share their ends.

    The interval is Fisher's, its standard error that of a jackknife that leaves out each end with all of its pairs
    (Snijders and Borgatti, 1999, Connections 22, 161-170).

    Args:
        first: `(n_pairs,)`.
        second: `(n_pairs,)`.
        ends: `(n_pairs, 2)`: the two of each pair, by number or name.

    Returns:
        `{"n_pairs", "value", "low", "high"}`; None where it is undefined, as of fewer than four pairs.
    """
    a, b, pairs = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64), np.asarray(ends)

    def fisher(kept: NDArray[np.bool_]) -> float:
        found = correlate(a[kept], b[kept])["spearman"]["value"]
        return np.nan if found is None else float(np.arctanh(np.clip(found, -1 + 1e-9, 1 - 1e-9)))

    whole, n = fisher(np.ones(len(a), dtype=bool)), len(np.unique(pairs))
    if np.isnan(whole):
        return {"n_pairs": len(a), **dict.fromkeys(("value", "low", "high"))}
    without = np.array([fisher((pairs != end).all(axis=1)) for end in np.unique(pairs)])
    error = np.sqrt((n - 2) / (2 * n) * np.sum((without - without.mean()) ** 2))
    low, high = (None, None) if np.isnan(error) else np.tanh([whole - 1.96 * error, whole + 1.96 * error]).tolist()
    return {"n_pairs": len(a), "value": float(np.tanh(whole)), "low": low, "high": high}


def area_under_curve(counts: ArrayLike, values: ArrayLike) -> float:
    """Area under a metric against the share of heads pruned: its mean over the curve, by the trapezoid rule.

    The share is 0 at the first point and 1 at the last. It follows from the heads that are gone, not from the percent
    that was asked for, which is rounded down to whole heads: 10% of 24 heads is 2 of them, 8.3%. Compare only curves of
    the same span. A single point has its own value, the limit of a span that shrinks. A count that comes several times,
    as where steps are finer than a head, counts once. A `ValueError` if there is no point, lengths differ, counts
    decrease, a count has two values, or one is not finite.

    Args:
        counts: `(n_points,)` heads that are pruned at each point, or shares of them; none below the one before.
        values: `(n_points,)` metric there.
    """
    x, y = np.asarray(counts, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) == 0:
        raise ValueError(f"a curve must have as many counts as values, and some, got {x.shape} and {y.shape}")
    if not np.all(np.diff(x) >= 0):
        raise ValueError(f"counts must increase, got {x.tolist()}")
    if not np.isfinite(y).all():
        raise ValueError(f"values must be finite, got {y.tolist()}")
    if np.any((np.diff(x) == 0) & (np.diff(y) != 0)):
        raise ValueError(f"a count must have one value, got {y.tolist()} at {x.tolist()}")
    span = x[-1] - x[0]
    return float(y[0]) if span == 0 else float(np.trapezoid(y, (x - x[0]) / span))
