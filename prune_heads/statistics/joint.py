"""All heads at once: they are measured on the same examples, so one draw of examples serves them all.

Differences of heads are correlated, and a table of heads is read by its extremes. What is said here holds for the whole
table: intervals that hold together, and p-values.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from prune_heads.statistics.differences import CHUNK, PairedTest, bootstrap_p, percentiles, resampled_weights, test_of
from prune_heads.statistics.metrics import Array, Metric

N_JOINT = 4_000
"""Resamples. A p-value of the largest of all heads needs no correction, so it may be as small as 1 over one more."""
N_DOUBLED = 2_000  # units, at most, whose influence is looked at
POWER = 0.8
RELATIVE = 1e-9  # spreads below this share of the largest are rounding

Weighed = Callable[[Array], Array]
"""Weights of the examples, `(n_rows, n_examples)` -> differences of all heads, `(n_heads, n_rows)`."""


@dataclass(frozen=True)
class Differences:
    """Of each head from no mask, on the same examples, as functions of how these are drawn."""

    n_heads: int
    n_examples: int
    weighed: Weighed
    swapped: Weighed
    """Of the examples marked 1 the answers with and without the mask are exchanged, of the others, 0, they are not."""
    groups: Array | None = None  # `(n_examples,)` numbers from 0; None: each example is its own

    @property
    def n_units(self) -> int:
        """What is drawn: groups, or examples."""
        return self.n_examples if self.groups is None else int(self.groups.max(initial=-1)) + 1

    def of(self, how: Weighed, units: Iterable[Array]) -> Array:
        """`(n_heads, n_rows)`, from rows of one number a unit."""
        groups = self.groups
        return np.concatenate([how(each if groups is None else each[:, groups]) for each in units], axis=1)

    @property
    def rows(self) -> int:
        """Rows of weights that fit into memory."""
        return max(1, 4 * CHUNK // self.n_examples)


def metric_differences(
    metric: Metric, base: Array, masked: Sequence[Array], references: Array, groups: Array | None = None
) -> Differences:
    """Of a metric: predictions under each mask, `(n_examples,)` or `(n_examples, width)`, less those without a mask."""
    if (each := metric.each) is not None:
        before = np.asarray(each(base, references), dtype=np.float64)
        return mean_differences(np.stack([each(after, references) - before for after in masked], axis=1), groups)

    def weighed(weights: Array) -> Array:
        before = metric.weighted(base, references, weights)
        return np.stack([metric.weighted(after, references, weights) - before for after in masked])

    def swapped(swaps: Array) -> Array:
        twice, sides = np.concatenate([references] * 2), (np.hstack([1 - swaps, swaps]), np.hstack([swaps, 1 - swaps]))
        both = (np.concatenate([base, after]) for after in masked)
        values = ([metric.weighted(each, twice, weights) for weights in sides] for each in both)
        return np.stack([after - before for before, after in values])

    return Differences(len(masked), len(references), weighed, swapped, groups)


def mean_differences(changes: Array, groups: Array | None = None) -> Differences:
    """Of means: what changes in each example, `(n_examples, n_heads)`."""
    n, n_heads = changes.shape
    return Differences(
        n_heads,
        n,
        lambda weights: np.asarray((weights @ changes).T / weights.sum(axis=1)),
        lambda swaps: np.asarray(((1 - 2 * swaps) @ changes).T / n),
        groups,
    )


def max_t(differences: Differences, *, seed: int, n_draws: int = N_JOINT) -> Array:
    """P-values of all heads, adjusted for their number: how often chance alone puts any head so far, `(n_heads,)`.

    The hypothesis of a head: with the mask and without it the answers to an example, or to a group of them, could be
    exchanged. They are, at random, for all heads alike (a randomisation test: Noreen, 1989; of a mean it flips signs).
    Distances are in standard deviations of these draws. The largest is compared with the largest of all heads, the next
    with that of the heads that are left, and none may be smaller than the one before it (Westfall and Young, 1993,
    algorithm 2.8). It is exact, but for the number of draws, with few examples and heavy tails too; of one head and
    accuracy it is McNemar's test. A head that changes nothing has p = 1.

    Args:
        differences: Of the heads.
        seed: Of the draws; the result is a pure function of the arguments.
        n_draws: Draws.
    """
    n, rng = differences.n_units, np.random.default_rng(seed)
    sizes = [min(differences.rows, n_draws - start) for start in range(0, n_draws, differences.rows)]
    drawn = differences.of(differences.swapped, (rng.integers(0, 2, (size, n)).astype(np.float64) for size in sizes))
    observed = np.abs(differences.of(differences.swapped, [np.zeros((1, n))])[:, 0])
    scale = np.sqrt((drawn**2).mean(axis=1))
    there = scale > RELATIVE * max(scale.max(initial=0.0), 1e-300)
    distance = np.divide(observed, scale, out=np.zeros_like(scale), where=there)
    order = np.argsort(-distance, kind="stable")
    far = np.divide(np.abs(drawn), scale[:, None], out=np.zeros_like(drawn), where=there[:, None])[order]
    largest = np.maximum.accumulate(far[::-1], axis=0)[::-1]
    as_far = (largest >= distance[order, None] - 1e-9).sum(axis=1)
    found = np.empty(len(order))
    found[order] = np.maximum.accumulate((1 + as_far) / (1 + n_draws))
    return np.where(there, found, 1.0)


@dataclass(frozen=True)
class Joint:
    """The differences of all heads, and those of the same heads on resampled examples.

    The draws, less what was observed, stand for what another sample would do. Heads that never differ have no spread:
    their interval is a point.
    """

    observed: Array  # (n_heads,)
    draws: Array  # (n_heads, n_resamples)
    n_units: int  # examples, or groups of them
    degrees: float  # of freedom of the errors, see `joint`

    @property
    def errors(self) -> Array:
        """Standard errors, `(n_heads,)`."""
        return np.sqrt(np.diag(self.covariance))

    @cached_property
    def covariance(self) -> Array:
        """`(n_heads, n_heads)`; a resample of n units varies by a share of (n - 1) / n of what samples do."""
        return np.atleast_2d(np.cov(self.draws)) * self.n_units / (self.n_units - 1)

    @property
    def steady_covariance(self) -> Array:
        """With as many imagined units as there are heads, of equal and independent errors.

        Where few answers change, some heads change on the very same examples, and what is measured of their difference
        has no error at all. An estimate that trusts each head by its error needs a better one.
        """
        n, m = self.n_units, len(self.observed)
        return np.asarray((n * self.covariance + np.trace(self.covariance) * np.eye(m)) / (n + m))

    def tests(self, test: str, p_values: Sequence[float | None]) -> list[PairedTest]:
        """Of each head on its own: the interval of its percentiles, and the p-value; `bootstrap_p` where it is None."""
        rows = zip(self.observed.tolist(), self.draws, p_values, strict=True)
        return [
            PairedTest(value, *percentiles(drawn), bootstrap_p(value, drawn, self.n_units) if p is None else p, test)
            for value, drawn, p in rows
        ]

    def wider(self, normal: Array | float) -> Array:
        """A number of errors as of a t distribution, for they are estimated, of a normal one with the same tail."""
        return np.asarray(scipy.stats.t.isf(scipy.stats.norm.sf(normal), self.degrees))

    def critical(self, confidence: float = 0.95) -> float:
        """How many standard errors all differences lie within, with this confidence, at once."""
        shifted, errors = np.abs(self.draws - self.observed[:, None]), self.errors
        there = errors > RELATIVE * max(errors.max(initial=0.0), 1e-300)
        if not there.any():  # no head differs: as of independent ones
            return float(scipy.stats.norm.isf((1 - confidence) / (2 * len(errors))))
        return float(self.wider(np.quantile((shifted[there] / errors[there, None]).max(axis=0), confidence)))

    def simultaneous(self, confidence: float = 0.95) -> tuple[Array, Array]:
        """`(low, high)` of all heads, which hold together: the observed one, this many errors to each side.

        The sup-t band of Montiel Olea and Plagborg-Moller (2019, J. Appl. Econometrics 34, 1-17).
        """
        half = self.critical(confidence) * self.errors
        return self.observed - half, self.observed + half

    def smallest_difference(self, confidence: float = 0.95) -> float:
        """What a typical head would have to differ by to be found, among all heads, in 80% of such samples.

        The critical value of all heads and the 80% quantile of a normal distribution, times the median error above 0.
        """
        errors = self.errors[self.errors > RELATIVE * max(self.errors.max(initial=0.0), 1e-300)]
        return float((self.critical(confidence) + scipy.stats.norm.ppf(POWER)) * np.median([*errors] or [0.0]))


def joint(differences: Differences, *, seed: int, n_resamples: int = N_JOINT) -> Joint:
    """Draw examples, or whole groups of them, with replacement, once for all heads.

    The errors are estimated, the worse the fewer units make them up: of n units whose influence on a difference (what
    changes where the unit counts twice) has the kurtosis k, a variance has 2 n / (k - 1) degrees of freedom. These are
    n for normal influences, and about twice the flips of a share of which few answers change. Those of the median head
    are taken. A `ValueError` if there is no example. Of a single one, or a single group, nothing can be said of errors.

    Args:
        differences: Of the heads.
        seed: Of the resampling; the result is a pure function of the arguments.
        n_resamples: Resamples.
    """
    n, rng = differences.n_units, np.random.default_rng(seed)
    if not n:
        raise ValueError("differences must be of some examples, got none")
    weighed = differences.weighed
    observed = differences.of(weighed, [np.ones((1, n))])
    draws = differences.of(weighed, resampled_weights(rng, n, n_resamples, differences.rows))
    doubled = rng.permutation(n)[:N_DOUBLED]
    parts = np.array_split(doubled, len(doubled) // differences.rows + 1)
    influence = differences.of(weighed, (1.0 + (np.arange(n) == part[:, None]) for part in parts)) - observed
    squares = (influence - influence.mean(axis=1, keepdims=True)) ** 2
    there = squares.mean(axis=1) > (RELATIVE * np.abs(draws - observed).max(initial=1e-300)) ** 2
    kurtosis = (squares[there] ** 2).mean(axis=1) / squares[there].mean(axis=1) ** 2
    degrees = np.median(2 * n / np.maximum(kurtosis - 1, 1)) if there.any() else n
    return Joint(observed[:, 0], draws, n, min(float(degrees), n - 1))


def compare_means(changes: Array, *, seed: int, n_resamples: int, groups: Array | None = None) -> list[PairedTest]:
    """Is the mean of each column 0? As `compare_paired` of a mean, all columns on the same resamples.

    A `ValueError` if there is no example.

    Args:
        changes: `(n_examples, n_tests)`: what changes in each example.
        seed: Of the resampling; the result is a pure function of the arguments.
        n_resamples: Resamples.
        groups: As for `compare_paired`.
    """
    found = joint(mean_differences(np.asarray(changes, np.float64), groups), seed=seed, n_resamples=n_resamples)
    return found.tests(test_of(None, groups), [None] * len(found.observed))
