"""The order of the heads: the places each may have, whether it comes back, and estimates without a winner's curse."""

from dataclasses import dataclass

import numpy as np
import scipy

from prune_heads.statistics.differences import CHUNK
from prune_heads.statistics.joint import RELATIVE, Differences, Joint
from prune_heads.statistics.metrics import Array

N_SPLITS = 200  # halves that a reliability is the mean of
N_STEPS = 500  # of an EM, at most


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
    over the splits; a negative one, which is chance, counts as 0.

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
    return {"split_half": r, "reliability": 2 * max(r, 0) / (1 + max(r, 0))}


def _centred_ranks(columns: Array) -> Array:
    return np.asarray(scipy.stats.rankdata(columns.round(12), axis=0) - (len(columns) + 1) / 2)


@dataclass(frozen=True)
class Shrunk:
    """Empirical-Bayes estimates of the differences: each is drawn towards the mean as far as its noise says."""

    values: Array  # (n_heads,)
    errors: Array  # (n_heads,): posterior standard deviations, the mean's own uncertainty included
    mean: float
    spread: float  # scale of the true differences around it; 0 where noise explains what is seen
    in_lower_half: Array  # (n_heads,): posterior probability to be among the lower half of the heads


def shrunk(observed: Array, covariance: Array, *, seed: int, degrees: float = 3.0, n_draws: int = 4_000) -> Shrunk:
    """The estimates under d ~ N(theta, Sigma), theta_h ~ mu + tau t: Sigma is known, mu and tau are estimated.

    Noise is shared by heads on the same examples, so Sigma is not diagonal. A t distribution lets a few heads matter
    far more than the others, which a normal one would draw in. It is a normal one of variance tau^2 w_h with w_h from
    an inverse gamma distribution: EM finds tau and the expected 1 / w_h (Lange, Little and Taylor, 1989, J. Am. Stat.
    Assoc. 84, 881-896), and mu by generalised least squares (Morris, 1983, J. Am. Stat. Assoc. 78, 47-55). What is
    given is the normal posterior for these. The best of many raw differences is too good on average (the winner's
    curse); these are not.

    Args:
        observed: `(n_heads,)` differences.
        covariance: `(n_heads, n_heads)` of their errors.
        seed: Of the draws that `in_lower_half` counts.
        degrees: Of freedom of the t distribution; a large number for a normal one.
        n_draws: From the posterior.
    """
    n, ones = len(observed), np.ones(len(observed))
    unit = float(np.mean(observed**2) + np.trace(covariance) / n) or 1.0
    noise = covariance + 1e-9 * unit * np.eye(n)
    square, weights = unit, ones  # of tau, and the expected 1 / w
    squares = [square]
    for _ in range(N_STEPS):
        prior = square / weights  # variances around the mean
        trust = prior[:, None] * np.linalg.inv(noise + np.diag(prior))
        towards = ones - trust @ ones
        precision = float((ones - towards) @ (1 / prior))
        mean = float((trust @ observed) @ (1 / prior)) / precision
        off = trust @ (observed - mean)
        apart = off**2 + prior - np.diag(trust) * prior + (ones - towards) ** 2 / precision
        squares.append(float(np.mean(weights * apart)))
        *_, before, square = squares
        if abs(before - square) <= 1e-6 * square or square < 1e-4 * unit:
            break
        if len(squares) == 3:  # where the limit is 0 the steps shrink without end: Aitken's extrapolation gets there
            first, second = np.diff(squares)
            if 0 < second / first < 1:
                square = float(np.clip(squares[0] + first**2 / (first - second), square / 2, 2 * square))
            squares = [square]
        weights = (degrees + 1) / (degrees + apart / square)
    posterior = (np.eye(n) - trust) * prior + np.outer(towards, towards) / precision
    errors = np.sqrt(np.diag(posterior))
    values, rng = mean + off, np.random.default_rng(seed)
    drawn = rng.multivariate_normal(values, (posterior + posterior.T) / 2, n_draws, method="eigh", check_valid="ignore")
    drawn += 1e-6 * errors.max() * rng.standard_normal(drawn.shape)  # heads that are equal take turns
    lower = np.argsort(np.argsort(drawn, axis=1), axis=1) < n // 2
    return Shrunk(values, errors, mean, float(np.sqrt(square)), lower.mean(axis=0))
