"""Is it safe to take heads away: is less than a margin lost? P-values that hold where just the margin is lost.

Candidates are tested from the fewest heads gone on, each at the full level, up to the first that is not shown: a fixed
sequence, as in Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei, 2021, https://arxiv.org/abs/2110.01052).
Of all searches, at most a share `level` then calls a candidate safe that loses the margin or more.
"""

from dataclasses import dataclass
from math import ceil, log, log1p, sqrt

import numpy as np

from prune_heads.statistics.differences import joint_counts, resampled_values
from prune_heads.statistics.groups import sums_by_group
from prune_heads.statistics.margins import score_distance
from prune_heads.statistics.metrics import Array, Metric

POWER = 0.8  # with which a loss is to be shown to be small, where nothing is lost
_DRAWS = 1_000  # resamples, for standard errors


@dataclass(frozen=True)
class Loss:
    """What the second of two predictions of the same examples loses of a metric."""

    value: float  # metric of the first less that of the second
    error: float  # its standard error; of a share, as if nothing were lost
    n_examples: int
    n: float
    """How many independent answers the examples are worth, each 1/n of the metric; of scores, what is resampled."""
    flips: tuple[float, float] | None = None  # of a share: how many of these answers become right, and wrong
    is_choice: bool = True  # whether some answers flip; else they are scores, which all change a little

    def distance(self, margin: float, n_examples: int | None = None) -> float:
        """Standard errors from this loss up to the margin; with `n_examples`, had it been seen on so many.

        The variance is one under which the margin is lost: of a share Tango's (1998), else at least that of flips that
        all lose. So it is not 0 where no answer flips.
        """
        times = (n_examples or self.n_examples) / self.n_examples
        if self.flips is not None:
            gained, lost = self.flips
            return float(score_distance(times * gained, times * lost, times * self.n, -margin))
        return (margin - self.value) / sqrt(max(self._variance(margin) / times, 1e-300))

    def p_value(self, margin: float) -> float:
        """One-sided, under the hypothesis that the margin or more is lost: `tail`; of scores Student's t."""
        from scipy.stats import t

        distance = self.distance(margin)
        return (
            tail(distance, max(int(self.n), 1), margin) if self.is_choice else float(t.sf(distance, max(self.n - 1, 1)))
        )

    def limit(self, level: float) -> float:
        """The least margin, up to 0.0001, that is shown at this level: an upper confidence limit of the loss."""
        from scipy.stats import t

        if not self.is_choice:
            return self.value + float(t.isf(level, max(self.n - 1, 1))) * self.error
        low = max(self.value, 0.0)
        high = max(low, 1.0)
        while high - low > 1e-4:
            middle = (low + high) / 2
            low, high = (low, middle) if self.p_value(middle) <= level else (middle, high)
        return high

    def examples_needed(self, margin: float, level: float) -> int:
        """Examples by which the margin is shown with a `POWER`, if as many answers flip and nothing is lost.

        (z_level + z_power)^2 v / margin^2, v the variance an example: 3,100 where 5% of the answers flip, for 0.01.
        """
        from scipy.stats import norm

        beyond = (norm.isf(level) + norm.isf(1 - POWER)) / margin
        return ceil(self.n_examples * self._variance(margin) * beyond**2)

    def _variance(self, margin: float) -> float:
        return max(self.error**2, margin / self.n) if self.is_choice else self.error**2


def loss_of(
    metric: Metric,
    first: Array,
    second: Array,
    references: Array,
    *,
    seed: int,
    groups: Array | None = None,
    worth: float | None = 1.0,
) -> Loss:
    """The loss of the second predictions, with all that tests of it need.

    Of a share the flips are counted, and divided by the design effect of the groups. Of other metrics the standard
    error is that of a paired bootstrap, of groups where there are some.

    Args:
        metric: Higher is better.
        first: `(n_examples[, width])` predictions.
        second: `(n_examples[, width])` predictions of the same examples.
        references: `(n_examples[, width])`.
        seed: Of the bootstrap.
        groups: `(n_examples,)` numbers from 0 of examples that belong together; None: each is its own.
        worth: `worth_of` of a metric of choices; None of scores.
    """
    n, value = len(references), metric(first, references) - metric(second, references)
    if metric.is_share and metric.each is not None:
        change = metric.each(second, references).astype(np.float64) - metric.each(first, references)
        effect = design_effect(change, groups)
        flips = float((change > 0).sum()) / effect, float((change < 0).sum()) / effect
        return Loss(value, sqrt(sum(flips)) / (n / effect), n, n / effect, flips)
    before, after = resampled_values(metric, (first, second), references, seed, _DRAWS, groups=groups)
    n_units = n if groups is None else int(groups.max()) + 1
    size = n_units if worth is None else n / worth
    return Loss(value, float(np.std(after - before, ddof=1)), n, size, is_choice=worth is not None)


def design_effect(values: Array, groups: Array | None) -> float:
    """How many times the variance of the mean of `values`, `(n_examples,)`, grows since examples come in groups.

    At least 1. As many independent examples say as much as n over this (Rao and Scott, 1992, Biometrics 48, 577-585).
    """
    off = values - values.mean()
    if groups is None or not off.any():
        return 1.0
    sums = sums_by_group(off, groups)
    if (k := len(sums)) == 1:
        return float(len(values))
    return max(1.0, float(k / (k - 1) * np.square(sums).sum() / np.square(off).sum()))


def worth_of(metric: Metric, answers: Array, references: Array) -> float:
    """What one flipped answer takes from the metric at most, in units of 1/n; at least 1, which it is of a share.

    Every answer is flipped to every other label that occurs; of metrics of other answers than labels it is 1.
    """
    if metric.is_share or metric.cell is None or answers.ndim > 1 or references.ndim > 1:
        return 1.0
    cells, counts = joint_counts([answers, references])
    made, true = cells
    flips = [(i, label) for i in range(len(counts)) for label in np.unique(cells) if label != made[i]]
    if not flips:
        return 1.0
    places, labels = np.transpose(flips)
    weights = np.hstack([np.tile(counts, (len(flips), 1)), np.eye(len(flips))]).astype(np.float64)
    weights[np.arange(len(flips)), places] -= 1
    values = metric.weighted(np.concatenate([made, labels]), np.concatenate([true, true[places]]), weights)
    return max(1.0, len(answers) * (metric(answers, references) - float(values.min())))


def tail(distance: float, n: int, margin: float) -> float:
    """The largest probability of such a `distance` (`score_distance` from minus the margin) where the margin is lost.

    Of n answers those that become right and wrong are multinomial. What share becomes right is not known, so the
    largest probability over all shares counts: an exact test (Sidik, 2003, Statistics in Medicine 22, 265-278).
    """
    from scipy.stats import binom

    lost = np.arange(n + 1)
    below, least = np.full(n + 1, -1), n - lost + 1  # of gained answers: too few, and enough, for this distance
    while (least - below > 1).any():
        middle = np.maximum((below + least) // 2, 0)
        enough = score_distance(middle, lost, n, -margin) >= distance - 1e-9
        below, least = np.where(enough, below, middle), np.where(enough & (middle > below), middle, least)
    shares = np.linspace(0, sqrt((1 - margin) / 2), min(20 + 3 * int(sqrt(n / 2)), 200)) ** 2
    width = 4 * int(sqrt(n)) + 10  # eight standard deviations
    places = np.rint(n * (shares + margin)).astype(int) + np.arange(-width, width + 1)[:, None]
    each = np.clip(places, 0, n)
    chance = np.where(places == each, binom.pmf(each, n, shares + margin), 0)
    chance = chance * binom.sf(least[each] - 1, n - each, np.minimum(shares / (1 - shares - margin), 1))
    return min(1.0, float(chance.sum(axis=0).max()))


def least_examples(margin: float, level: float) -> int:
    """Examples below which no loss of a share is shown to be under the margin, even if no answer flips."""
    n = ceil(log(level) / log1p(-margin))
    while Loss(0, 0, n, n, (0, 0)).p_value(margin) > level:
        n += max(1, n // 100)
    return n
