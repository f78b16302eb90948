"""How two measurements of the same heads agree, with intervals (paper, figure 2)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Estimate:
    """A correlation with its confidence interval; all three are None where it is undefined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Correlation:
    """Two correlations over the same heads."""

    n_heads: int
    """Heads that were measured on both sides."""
    pearson: Estimate
    spearman: Estimate

    def to_json(self) -> dict[str, Any]:
        """`{"n_heads", "pearson": {"value", "low", "high"}, "spearman": {...}}`; None where undefined, never NaN."""
        return asdict(self)


def correlate(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Correlation:
    """Correlate two tables of the same heads.

    Pearson's interval is Fisher's. Spearman's is Fisher's with the standard error sqrt((1 + r^2 / 2) / (n - 3)) of
    Bonett and Wright (2000, Psychometrika 65, 23-28). Both treat heads as drawn independently.

    Heads that were not measured on either side (None or NaN) are left out. A correlation is undefined with fewer
    than four heads, for which there is no interval, or where one side is constant: its fields are None.

    Args:
        first: Any shape, e.g. `(n_layers, n_heads)`.
        second: The same shape.
        confidence: Of the intervals.

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
    if n < 4 or _constant(a) or _constant(b):
        return Correlation(n, Estimate(), Estimate())
    import scipy.stats  # takes a second

    pearson = scipy.stats.pearsonr(a, b)
    low, high = pearson.confidence_interval(confidence)
    spearman = float(np.clip(scipy.stats.spearmanr(a, b).statistic, -1, 1))
    return Correlation(
        n,
        Estimate(float(pearson.statistic), float(low), float(high)),
        Estimate(spearman, *_bonett_wright(spearman, n, confidence)),
    )


def _bonett_wright(r: float, n: int, confidence: float) -> tuple[float, float]:
    if abs(r) >= 1:  # where Fisher's transformation is infinite, the interval is the point, as for Pearson
        return r, r
    import scipy.stats

    half = scipy.stats.norm.ppf((1 + confidence) / 2) * np.sqrt((1 + r**2 / 2) / (n - 3))
    return float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))


def _constant(values: np.ndarray) -> bool:
    """All alike but for rounding, below which a correlation is one of rounding errors (SciPy warns there)."""
    return bool(np.ptp(values) <= 1e-11 * np.abs(values).max())
