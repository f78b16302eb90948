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
        `{"split_half", "reliability"}`, None of fewer than three heads, or if none differ; halves without r are 0.
    """
    n, weighed = differences.n_units, differences.weighed
    halves = np.argsort(np.random.default_rng(seed).random((n_splits, n)), axis=1) < n // 2
    if n < 2 or differences.n_heads < 3:
        return {"split_half": None, "reliability": None}
    parts = np.array_split(halves.astype(np.float64), n_splits // differences.rows + 1)
    first, second = (_centred_ranks(differences.of(weighed, side)) for side in (parts, [1 - part for part in parts]))
    lengths = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    if (lengths <= 0).all():
        return {"split_half": None, "reliability": None}
    r = float(((first * second).sum(axis=0) / np.where(lengths > 0, lengths, np.inf)).mean())
    return {"split_half": r, "reliability": 2 * max(r, 0) / (1 + max(r, 0))}


def _centred_ranks(columns: Array) -> Array:
    return np.asarray(scipy.stats.rankdata(columns.round(12), axis=0) - (len(columns) + 1) / 2)


@dataclass(frozen=True)
class Shrunk:
    """Empirical-Bayes estimates of the differences: each is drawn towards the mean as far as its noise says."""

    values: Array  # (n_heads,)
    errors: Array  # (n_heads,): posterior standard deviations, those of the mean and of shared noise included
    mean: float
    spread: float  # scale of the true differences around it, of a head of middling noise; 0 where noise explains all
    in_lower_half: Array  # (n_heads,): posterior probability to be among the lower half of the heads


PRIOR = "t distribution around the mean, in errors of each head"
"""What is taken for granted of true differences, as records say it."""


def shrunk(observed: Array, covariance: Array, *, seed: int, degrees: float = 3.0, n_draws: int = 4_000) -> Shrunk:
    """The estimates under d_h ~ N(theta_h, s_h^2), theta_h ~ mu + s_h tau t: s_h is known, mu and tau are estimated.

    s_h is the error of the head's own difference, without the noise that all heads share, which moves all alike. Heads
    that change more answers differ more, and by more noise, so the prior is in units of s_h. A t distribution lets a
    few heads matter far more than the others. It is a normal one of variance w_h with w_h from an inverse gamma
    distribution: EM finds tau and the expected 1 / w_h (Lange, Little and Taylor, 1989, J. Am. Stat. Assoc. 84,
    881-896), and mu by generalised least squares (Morris, 1983, J. Am. Stat. Assoc. 78, 47-55). What is given is the
    normal posterior for these. The best of many raw differences is too good on average (the winner's curse).

    The noise of two heads is taken for independent, though they see the same examples: on these, heads change answers
    in the same pattern as on all others, so that a prior without this pattern takes true differences for noise.

    Args:
        observed: `(n_heads,)` differences.
        covariance: `(n_heads, n_heads)` of their errors.
        seed: Of the draws that `in_lower_half` counts; noise of heads is as alike there as it is.
        degrees: Of freedom of the t distribution; a large number for a normal one.
        n_draws: From the posterior.
    """
    n = len(observed)
    own = covariance - covariance.mean(axis=0) - covariance.mean(axis=1)[:, None] + covariance.mean()
    shared = max(0.0, (covariance.sum() - np.trace(covariance)) / max(n * (n - 1), 1))
    unit = float(np.mean(observed**2) + np.trace(covariance) / n) or 1.0
    scales = np.sqrt(np.maximum(np.diag(own), 0) * n / max(n - 1, 1) + 1e-9 * unit)
    seen, ones = observed / scales, 1 / scales  # in units of each head's noise
    square, weights = float(np.mean(seen**2)) + 1, np.ones(n)  # of tau, and the expected 1 / w
    squares = [square]
    for _ in range(N_STEPS):
        prior = square / weights
        trust = prior / (1 + prior)
        precision = float(ones**2 @ (1 - trust))
        mean = float(ones @ (seen * (1 - trust))) / precision
        off = trust * (seen - ones * mean)
        apart = off**2 + trust + (trust * ones) ** 2 / precision
        squares.append(float(np.mean(weights * apart)))
        *_, before, square = squares
        if abs(before - square) <= 1e-6 * square or square < 1e-4:
            break
        if len(squares) == 3:  # where the limit is 0 the steps shrink without end: Aitken's extrapolation gets there
            first, second = np.diff(squares)
            if 0 < second / first < 1:
                square = float(np.clip(squares[0] + first**2 / (first - second), square / 2, 2 * square))
            squares = [square]
        weights = (degrees + 1) / (degrees + apart / square)
    values, rng = mean + scales * off, np.random.default_rng(seed)
    errors = scales * np.sqrt(trust + ((1 - trust) * ones) ** 2 / precision)
    lengths = np.sqrt(np.maximum(np.diag(own), 1e-9 * unit))
    alike = own / np.outer(lengths, lengths) * (1 - 1 / n) + 1 / n  # the mean that is taken off makes the least alike
    np.fill_diagonal(alike, 1.0)
    spread = float(np.sqrt(square) * np.median(scales))
    drawn = rng.multivariate_normal(np.zeros(n), alike, n_draws, method="eigh", check_valid="ignore") * errors + values
    drawn += 1e-6 * errors.max() * rng.standard_normal(drawn.shape)  # heads that are equal take turns
    lower = np.argsort(np.argsort(drawn, axis=1), axis=1) < n // 2
    return Shrunk(values, np.sqrt(errors**2 + shared), mean, spread, lower.mean(axis=0))
