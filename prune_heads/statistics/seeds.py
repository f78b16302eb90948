"""Several fine-tunings, or orders by several scoring samples, on the same examples: their mean and its variance."""

from dataclasses import dataclass

import numpy as np
import scipy

from prune_heads.statistics.joint import RELATIVE
from prune_heads.statistics.metrics import Array


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds with its interval, and the seeds' share of the variance of a single one, with its own."""

    value: float
    low: float
    high: float
    degrees: float  # of freedom of the interval
    share: float | None  # None, as its ends, where nothing varies
    share_low: float | None
    share_high: float | None


def crossed(
    values: Array, draws: Array, n_units: int, *, confidence: float = 0.95, value: float | None = None
) -> Crossed:
    """The mean of a number over seeds, for other seeds and other examples: both are random, and crossed.

    With the variance S between the k seeds, and over resamples of the examples the variance M of the mean and the mean
    variance R of what each seed differs from it (times k / (k - 1)), the mean has the variance

        S / k + max(M - R / k, 0); M where all seeds have one value, which may be by chance.

    Of a mean of n examples that is (MS_seeds + MS_examples - MS_rest) / (k n) of the analysis of variance. Degrees of
    freedom are Satterthwaite's: k - 1 where seeds decide, which would be too cautious where examples do (Hillis, 2007,
    Stat. Medicine 26, 596-619, for readers crossed with cases). A single seed varies by S - R due to seeds and by
    M - R / k + R due to examples; S / R is F distributed but for the seeds' variance. A `ValueError` if there are
    fewer than two seeds or two units.

    Args:
        values: `(k,)` the number of each seed, two of them at least.
        draws: `(k, n_draws)` the same on resampled examples, on the same ones for all seeds.
        n_units: Examples, or groups of them, which are drawn; two at least.
        confidence: Of both intervals.
        value: The number of a single seed, which the interval is of in place of the mean: S is not divided by k then.
    """
    k = len(values)
    if min(k, n_units) < 2:
        raise ValueError(f"there must be two seeds and two examples at least, got {k} and {n_units}")
    of_samples = n_units / (n_units - 1)  # a resample of n varies by a share of (n - 1) / n of what samples do
    middle = draws.mean(axis=0)
    rest = of_samples * float((draws - middle).var(axis=1).sum()) / (k - 1)
    seeds, examples = float(np.var(values, ddof=1)), of_samples * float(middle.var())
    if np.ptp(values) > RELATIVE * np.abs(values).max():
        examples = max(examples - rest / k, 0.0)
    mean, own = (float(np.mean(values)), seeds / k) if value is None else (value, seeds)
    variance, tail = own + examples, (1 - confidence) / 2
    if variance <= 0:
        return Crossed(mean, mean, mean, k - 1, None, None, None)
    degrees = variance**2 / (own**2 / (k - 1) + examples**2 / (n_units - 1))
    half = float(scipy.stats.t.isf(tail, degrees)) * variance**0.5
    ratios = [1.0, *scipy.stats.f.isf([tail, 1 - tail], k - 1, (k - 1) * (n_units - 1)).tolist()]
    parts = [max(seeds / ratio - rest, 0.0) for ratio in ratios]
    shares = [part / total if (total := part + examples + rest) > 0 else 0.0 for part in parts]
    return Crossed(mean, mean - half, mean + half, degrees, *shares)
