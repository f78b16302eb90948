"""Is a loss smaller than a margin? Where nothing is significant, that is not yet shown."""

from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from prune_heads.statistics.differences import N_RESAMPLES, resampled_values
from prune_heads.statistics.groups import n_units
from prune_heads.statistics.metrics import Array, Metric

Verdict = Literal["kept", "open", "lost"]
LEVEL = 0.05  # one-sided, so the interval that is looked at is that of 90%
INSIDE = 1 - 2 * LEVEL


def score_interval(gained: int, lost: int, n: int, confidence: float = INSIDE) -> tuple[float, float]:
    """`(low, high)` of a difference of two shares of the same examples, by Tango's score.

    Tango (1998, Statistics in Medicine 17, 891-908): the differences d that |gained - lost - n d| / sqrt(n (2 q + d (1
    - d))) does not refute, where q is the most likely share of lost ones for that d. It holds where few answers change,
    and none. A `ValueError` if there is no example.

    Args:
        gained: Examples of which only the second answer is right.
        lost: Those of which only the first is.
        n: All examples.
        confidence: Of the interval.
    """
    if not n:
        raise ValueError("an interval needs examples, got none")
    beyond, observed = scipy.stats.norm.ppf((1 + confidence) / 2), (gained - lost) / n

    def limit(side: int) -> float:
        end = side * (1 - 1e-12)
        if (observed - end) * side >= 0:
            return float(side)
        ends = {"a": observed, "b": end, "xtol": 1e-12}
        return float(scipy.optimize.brentq(lambda d: score_distance(gained, lost, n, d) + side * beyond, **ends))

    return limit(-1), limit(1)


def score_distance(gained: ArrayLike, lost: ArrayLike, n: float, d: float) -> Any:
    """Tango's score: standard errors from a difference `d` up to the observed one, arguments as of `score_interval`.

    Arrays are taken too, of counts that need not be whole.
    """
    gained, lost = np.asarray(gained), np.asarray(lost)
    b = -gained - lost + (2 * n - gained + lost) * d
    q = (np.sqrt(np.maximum(b**2 + 8 * n * lost * d * (1 - d), 0)) - b) / (4 * n)
    off, variance = gained - lost - n * d, n * (2 * q + d * (1 - d))
    return np.clip(off / np.sqrt(np.maximum(variance, 1e-300)), -1e9, 1e9)


def difference_interval(
    metric: Metric, first: Array, second: Array, references: Array, *, seed: int, groups: Array | None = None
) -> tuple[float, float]:
    """90% interval of a metric of the second predictions less that of the first, of the same examples.

    Of a share of independent examples `score_interval`; else the percentiles of a paired bootstrap, of groups where
    `groups`, `(n_examples,)` numbers from 0, says which examples belong together. Of choices, few of which may change,
    and of one unit, it is at least as wide as the score interval of so many units of which none changes.
    """
    if metric.is_share and metric.each is not None and groups is None:
        right, also_right = metric.each(first, references), metric.each(second, references)
        return score_interval(int((also_right > right).sum()), int((right > also_right).sum()), len(references))
    before, after = resampled_values(metric, (first, second), references, seed, N_RESAMPLES, groups=groups)
    low, high = np.quantile(after - before, [LEVEL, 1 - LEVEL])
    n = n_units(len(references), groups)
    if n == 1 or metric.is_share or np.array_equal(first, np.rint(first)):
        value, least = metric(second, references) - metric(first, references), score_interval(0, 0, n)[1]
        low, high = min(low, value - least), max(high, value + least)
    return float(low), float(high)


def non_inferior(low: float, high: float, margin: float) -> Verdict:
    """Whether less than the margin is lost, by a 90% interval of the difference: a one-sided test at 5%.

    `kept`: the loss is smaller; `lost`: it is larger; `open`: the examples do not say.
    """
    return "kept" if low > -margin else "lost" if high < -margin else "open"


def equivalent(low: float, high: float, margin: float) -> Verdict:
    """Whether the difference is smaller than the margin to either side, by its 90% interval.

    The two one-sided tests of Schuirmann (1987, J. Pharmacokinetics and Biopharmaceutics 15, 657-680), each at 5%.
    """
    if -margin < low and high < margin:
        return "kept"
    return "lost" if high < -margin or low > margin else "open"


def kept_up_to(verdicts: list[Verdict]) -> tuple[int, int]:
    """Of a curve, from few heads to many: points before the first that is not kept, and the first that is lost.

    The points are tested in this order, each at the full level, and the first that is not shown to be kept ends what is
    shown (a fixed sequence: Maurer, Hothorn and Lehmacher, 1995). The second number is that of all points where none
    is lost.
    """
    first = next((i for i, each in enumerate(verdicts) if each != "kept"), len(verdicts))
    return first, next((i for i, each in enumerate(verdicts) if each == "lost"), len(verdicts))
