"""Is it safe to take heads away: is less than a margin lost? P-values that hold where just the margin is lost.

Candidates are tested from the fewest heads gone on, each at the full level, up to the first that is not shown: a fixed
sequence, as in Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei, 2021, https://arxiv.org/abs/2110.01052).
Of all searches, at most a share `level` then calls a candidate safe that loses the margin or more.
"""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import scipy

from prune_heads.statistics.differences import joint_counts, resampled_values
from prune_heads.statistics.groups import n_units, sums_by_group
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
    n: float  # independent answers that they are worth, each 1/n of the metric; of scores, units that are resampled
    flips: tuple[float, float] | None = None  # of a share: how many of these answers become right, and wrong
    is_choice: bool = True  # whether some answers flip; else they are scores, which all change a little

    def distance(self, margin: float) -> float:
        """Standard errors from this loss up to the margin, where the margin is lost: of a share Tango's score (1998).

        The variance of other choices is at least that of flips that all lose, so it is not 0 where no answer flips. As
        much seen on k times as many examples is sqrt(k) times as far.
        """
        if self.flips is not None:
            return float(score_distance(*self.flips, self.n, -margin))
        return (margin - self.value) / sqrt(max(self._variance(margin), 1e-300))

    def p_value(self, margin: float) -> float:
        """One-sided, under the hypothesis that the margin or more is lost: `tail`; of scores Student's t."""
        if self.is_choice:
            return tail(self.distance(margin), max(int(self.n), 1), margin)
        return float(scipy.stats.t.sf(self.distance(margin), max(self.n - 1, 1)))

    def limit(self, level: float) -> float:
        """The least margin, up to 0.0001, that is shown at this level: an upper confidence limit of the loss."""
        low = max(self.value, 0.0)
        high = max(low, 1.0) if self.is_choice else low + 100 * self.error + 1e-4
        while high - low > 1e-4:
            middle = (low + high) / 2
            low, high = (low, middle) if self.p_value(middle) <= level else (middle, high)
        return high

    def examples_needed(self, margin: float, level: float) -> int:
        """(z_level + z_power)^2 v / margin^2, v the variance an example, if as many answers flip and nothing is lost.

        So many examples show the margin with a `POWER`: 3,100 of 0.01, where 5% of the answers flip.
        """
        beyond = (scipy.stats.norm.isf(level) + scipy.stats.norm.isf(1 - POWER)) / margin
        return ceil(self.n_examples * self._variance(margin) * beyond**2)

    def _variance(self, margin: float) -> float:
        return max(self.error**2, margin / self.n) if self.is_choice else self.error**2


def loss_of(
    metric: Metric, first: Array, second: Array, references: Array, seed: int, groups: Array | None, worth: float | None
) -> Loss:
    """The loss of the second predictions, with all that tests of it need; arguments as of `compare_paired`.

    Of a share the flips are counted, and divided by the design effect of the groups. Of other metrics the standard
    error is that of a paired bootstrap. `worth` is that of `worth_of`, of a metric of choices; None of scores.
    """
    n, value = len(references), metric(first, references) - metric(second, references)
    if metric.is_share and metric.each is not None:
        change = metric.each(second, references).astype(np.float64) - metric.each(first, references)
        effect = design_effect(change, groups)
        flips = float((change > 0).sum()) / effect, float((change < 0).sum()) / effect
        return Loss(value, sqrt(sum(flips)) / (n / effect), n, n / effect, flips)
    before, after = resampled_values(metric, (first, second), references, seed, _DRAWS, groups=groups)
    k = n_units(n, groups)
    error = float(np.std(after - before, ddof=1)) * sqrt(k / max(k - 1, 1))  # resamples vary less by that
    is_other = np.any((first != second).reshape(n, -1), axis=1).astype(np.float64)
    size = k if worth is None else n / worth / design_effect(is_other, groups)
    return Loss(value, error, n, size, is_choice=worth is not None)


def design_effect(values: Array, groups: Array | None) -> float:
    """How many times the variance of the mean of `values`, `(n_examples,)`, grows since examples come in groups.

    At least 1; n examples say as much as n over this if independent (Rao and Scott, 1992, Biometrics 48, 577-585). As
    if one more group, of the mean size of an example's, had changed as a whole: few changes tell little of groups.
    """
    off, sizes = values - values.mean(), np.ones(1) if groups is None else np.bincount(groups)
    if groups is None or (k := len(sizes)) == 1:
        return float(sizes[0])
    size = float(np.square(sizes).mean() / sizes.mean())
    squares = k / (k - 1) * np.square(sums_by_group(off, groups)).sum() + size**2
    return max(1.0, float(squares / (np.square(off).sum() + size)))


def worth_of(metric: Metric, answers: Array, references: Array) -> float:
    """What one flipped answer takes from the metric at most, in units of 1/n; at least 1, which it is of a share.

    Every answer is flipped to every other label that occurs. Of metrics of other answers than labels it is 1, or of a
    ratio of sums, such as the F1 of entities, so much that n over it is Kish's effective number of examples.
    """
    if metric.is_share or metric.cell is None or answers.ndim > 1 or references.ndim > 1:
        sizes = np.ones(1) if metric.over is None else metric.over(answers, references).reshape(len(answers), -1).sum(1)
        return float(len(sizes) * np.square(sizes).sum() / max(sizes.sum(), 1) ** 2) or 1.0
    cells, counts = joint_counts([answers, references])
    (made, true), labels, k = cells, np.unique(cells), len(counts)
    fewer, more = np.repeat(np.eye(k), len(labels), axis=0), np.eye(k * len(labels))
    answered, asked = np.concatenate([made, np.tile(labels, k)]), np.concatenate([true, np.repeat(true, len(labels))])
    values = metric.weighted(answered, asked, np.hstack([counts - fewer, more]))
    return max(1.0, len(answers) * (metric(answers, references) - float(values.min())))


def tail(distance: float, n: int, margin: float) -> float:
    """The largest probability of such a `distance` (`score_distance` from minus the margin) where the margin is lost.

    Of n answers those that become right and wrong are multinomial. What share becomes right is not known, so the
    largest probability over all shares counts: an exact test (Sidik, 2003, Statistics in Medicine 22, 265-278).
    """
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
    chance = np.where(places == each, scipy.stats.binom.pmf(each, n, shares + margin), 0)
    chance = chance * scipy.stats.binom.sf(least[each] - 1, n - each, np.minimum(shares / (1 - shares - margin), 1))
    return min(1.0, float(chance.sum(axis=0).max()))
