"""The order of the heads: the places each may have, whether it comes back, and estimates without a winner's curse."""

from dataclasses import dataclass

import numpy as np

from prune_heads.statistics.differences import CHUNK
from prune_heads.statistics.joint import RELATIVE, Differences, Joint
from prune_heads.statistics.metrics import Array

N_SPLITS = 200  # halves that a reliability is the mean of


def rank_intervals(found: Joint, confidence: float = 0.95) -> tuple[Array, Array]:
    """First and last place that each head may have, 1 for the lowest difference; they hold for all heads at once.

    A head lies surely above another where the interval of their difference does, and these intervals hold for all
    pairs together (Mogstad, Romano, Shaikh and Wilhelm, 2024, Rev. Econ. Studies 91, 476-518, with their stepwise
    improvement). To resample the ranks themselves fails near ties.
    """
    n = len(found.observed)
    first, second = np.triu_indices(n, 1)
    covariance = found.covariance
    variances = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
    errors = np.sqrt(np.maximum(variances, 0.0))
    there = errors > RELATIVE * max(errors.max(initial=0.0), 1e-300)
    first, second, errors = first[there], second[there], errors[there]
    apart = found.observed[first] - found.observed[second]
    shifted = found.draws - found.observed[:, None]
    largest = np.zeros(found.draws.shape[1])
    open_ = np.ones(len(first), dtype=bool)
    while open_.any():  # what is surely apart is no longer among those that chance may have put so far
        largest[:] = 0
        for part in np.array_split(np.flatnonzero(open_), 1 + open_.sum() * len(largest) // (20 * CHUNK)):
            distances = np.abs(shifted[first[part]] - shifted[second[part]]) / errors[part, None]
            np.maximum(largest, distances.max(axis=0), out=largest)
        sure = open_ & (np.abs(apart) > found.wider(np.quantile(largest, confidence)) * errors)
        if not sure.any():
            break
        open_ &= ~sure
    low, high = np.ones(n, dtype=int), np.full(n, n)
    above, below = np.where(apart > 0, first, second)[~open_], np.where(apart > 0, second, first)[~open_]
    np.add.at(low, above, 1)
    np.add.at(high, below, -1)
    return low, high


def reliability(differences: Differences, *, seed: int, n_splits: int = N_SPLITS) -> dict[str, float | None]:
    """How far the order of the heads comes back on other examples of the same number.

    The examples, or their groups, are cut into halves at random; Spearman's correlation over heads of both halves is
    that of half as many examples, and 2r / (1 + r) that of all (Spearman, 1910; Brown, 1910). Both are of the mean r
    over the splits.

    Returns:
        `{"split_half", "reliability"}`, None where heads do not differ within a half, or are fewer than three.
    """
    n, weighed = differences.n_units, differences.weighed
    halves = np.argsort(np.random.default_rng(seed).random((n_splits, n)), axis=1) < n // 2
    if n < 2 or differences.n_heads < 3:
        return {"split_half": None, "reliability": None}
    parts = np.array_split(halves.astype(np.float64), n_splits // differences.rows + 1)
    first, second = (_centred_ranks(differences.of(weighed, side)) for side in (parts, [1 - part for part in parts]))
    lengths = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    if (lengths <= 0).any():
        return {"split_half": None, "reliability": None}
    r = float(((first * second).sum(axis=0) / lengths).mean())
    return {"split_half": r, "reliability": 2 * r / (1 + r)}


def _centred_ranks(columns: Array) -> Array:
    from scipy.stats import rankdata  # takes a second

    return np.asarray(rankdata(columns.round(12), axis=0) - (len(columns) + 1) / 2)


@dataclass(frozen=True)
class Shrunk:
    """Empirical-Bayes estimates of the differences: each is drawn towards the mean as far as its noise says."""

    values: Array  # (n_heads,)
    errors: Array  # (n_heads,): posterior standard deviations, the mean's own uncertainty included
    mean: float
    spread: float  # standard deviation of true differences over heads; 0 where noise explains what is seen
    in_lower_half: Array  # (n_heads,): posterior probability to be among the lower half of the heads


def shrunk(observed: Array, covariance: Array, *, seed: int, n_draws: int = 4_000) -> Shrunk:
    """The estimates under d ~ N(theta, Sigma), theta ~ N(mu, tau^2): Sigma is known, mu and tau^2 are estimated.

    tau^2 maximises the restricted likelihood and mu is the generalised least-squares mean (Morris, 1983, J. Am. Stat.
    Assoc. 78, 47-55; for a joint covariance, Laird and Ware, 1982). Noise is shared by heads on the same examples, so
    Sigma is not diagonal. The best of many raw differences is too good on average (the winner's curse); these are not.

    Args:
        observed: `(n_heads,)` differences.
        covariance: `(n_heads, n_heads)` of their errors.
        seed: Of the draws that `in_lower_half` counts.
        n_draws: From the posterior.
    """
    from scipy.optimize import minimize_scalar  # takes a second

    noise, axes = np.linalg.eigh(covariance)
    noise = np.maximum(noise, 0.0)
    y, x = axes.T @ observed, axes.sum(axis=0)
    tiny = 1e-12 * max(noise.max(initial=0.0), float(np.mean(observed**2)), 1e-300)

    def fitted(spread: float) -> tuple[float, float, float]:
        """Mean, its precision, and minus twice the restricted log-likelihood, for a variance of true differences."""
        variances = noise + spread + tiny
        precision = float(np.sum(x**2 / variances))
        mean = float(np.sum(x * y / variances)) / precision
        deviance = np.log(variances).sum() + np.log(precision) + np.sum((y - mean * x) ** 2 / variances)
        return mean, precision, float(deviance)

    top = 4 * float(np.var(observed)) + tiny
    found = minimize_scalar(lambda log: fitted(np.exp(log))[2], bounds=(np.log(tiny), np.log(top)), method="bounded")
    spread = min((0.0, float(np.exp(found.x))), key=lambda each: fitted(each)[2])
    mean, precision, _ = fitted(spread)
    trust = spread / (noise + spread + tiny)
    values = axes @ (trust * y + (1 - trust) * mean * x)
    towards = axes @ ((1 - trust) * x)
    root = axes * np.sqrt(noise * trust)  # its square is the posterior covariance for a known mean
    errors = np.sqrt((root**2).sum(axis=1) + towards**2 / precision)
    rng = np.random.default_rng(seed)
    drawn = values[:, None] + root @ rng.standard_normal((len(values), n_draws))
    drawn += towards[:, None] * rng.standard_normal(n_draws) / np.sqrt(precision)
    drawn += RELATIVE * errors.max() * rng.standard_normal(drawn.shape)  # heads that are equal take turns
    lower = np.argsort(np.argsort(drawn, axis=0), axis=0) < len(values) // 2
    return Shrunk(values, errors, mean, float(np.sqrt(spread)), lower.mean(axis=1))
