"""Means over seeds that share their examples: the analysis of variance as oracle, and what intervals cover."""

import numpy as np
import pytest

from prune_heads.statistics import METRICS
from prune_heads.statistics.differences import resampled_values
from prune_heads.statistics.seeds import crossed

N, K = 150, 5
REGIMES = {"seeds": (0.3, 0.2, 0.5), "examples": (0.0, 1.0, 0.5), "both": (0.08, 1.0, 1.0)}
"""Standard deviations of seeds, of examples, and of what is left."""


def bootstrap(n=N, n_draws=300, seed=0):
    """`(n_draws, n)`: shares of the examples in resamples."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_draws) / n


def test_of_means_it_is_the_analysis_of_variance():
    """A two-way table without replication, its mean squares by sums of squares."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(K, 1)) + rng.normal(size=(1, N)) + rng.normal(size=(K, N))
    of_seeds, of_examples = table.mean(1), table.mean(0)
    squares = [N * of_seeds.var(ddof=1), K * of_examples.var(ddof=1)]
    rest = table - of_seeds[:, None] - of_examples + table.mean()
    squares.append((rest**2).sum() / ((K - 1) * (N - 1)))
    expected = (squares[0] + squares[1] - squares[2]) / (K * N)
    weights = bootstrap(n_draws=20_000)
    found = crossed(of_seeds, table @ weights.T, N)
    from scipy.stats import t

    half = t.ppf(0.975, found.degrees) * expected**0.5
    assert (found.value, found.high - found.value) == (pytest.approx(table.mean()), pytest.approx(half, rel=0.01))
    assert K - 1 < found.degrees < N


@pytest.mark.parametrize(("seeds", "share"), [([0.0] * 5, 0.0), ([0.1, 0.2, 0.3, 0.4, 0.5], 1.0)])
def test_ends(seeds, share):
    """Seeds that are all alike have no share; examples that do not matter leave all of it to the seeds, on k - 1."""
    noise = np.random.default_rng(0).normal(size=(1, 400))
    found = crossed(np.array(seeds), np.repeat(noise * (1 - share), 5, axis=0), 50)
    assert found.share == pytest.approx(share)
    assert found.degrees == pytest.approx(4 if share else 49)
    assert found.low < found.value < found.high


def test_nothing_varies_or_there_is_one_alone():
    found = crossed(np.full(3, 0.5), np.full((3, 9), 0.5), 8)
    assert (found.low, found.value, found.high, found.share) == (0.5, 0.5, 0.5, None)
    for k, n in ((1, 9), (2, 1)):
        with pytest.raises(ValueError, match=f"two seeds and two examples at least, got {k} and {n}"):
            crossed(np.zeros(k), np.zeros((k, 4)), n)


def test_seeds_that_are_alike_by_chance_do_not_make_a_number_sure():
    """Areas of 20 answers may be equal on these examples and differ on others: then the examples alone decide."""
    draws = np.random.default_rng(0).normal(size=(2, 400)) / 10
    found, m = crossed(np.full(2, 0.1), draws, 20), draws.mean(axis=0).var() * 20 / 19
    assert draws.std() ** 2 > 1.5 * m  # so that M - R / k would be about 0
    assert found.high - found.value == pytest.approx(_quantile(19) * m**0.5)


def covered(n_runs, regime, is_share):
    """How often intervals hold the mean that other seeds and examples have, and the seeds' share of the variance."""
    seeds, examples, rest = REGIMES[regime]
    rng, weights, hits = np.random.default_rng(7), bootstrap(), np.zeros(3)
    truth = 0.0
    if is_share:
        from scipy.stats import norm

        truth = norm.sf(0.2 / np.sqrt(examples**2 + rest**2 + seeds**2))
    within = (examples**2 + rest**2) / N
    for _ in range(n_runs):
        shape = (K, N)
        table = seeds * rng.normal(size=(K, 1)) + examples * rng.normal(size=(1, N)) + rest * rng.normal(size=shape)
        table = (table > 0.2).astype(float) if is_share else table
        found = crossed(table.mean(1), table @ weights.T, N)
        hits[0] += found.low <= truth <= found.high
        hits[1] += found.share_low - 1e-12 <= seeds**2 / (seeds**2 + within) <= found.share_high
        hits[2] += abs(found.value - truth) <= 2.776 * (found.high - found.low) / 2 / _quantile(found.degrees)
    return hits / n_runs


def _quantile(degrees):
    from scipy.stats import t

    return t.ppf(0.975, degrees)


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("is_share", [False, True])
def test_coverage_on_a_few_runs(regime, is_share):
    mean, share, _ = covered(300, regime, is_share)
    assert 0.91 < mean < 0.99
    assert is_share or share > 0.91


@pytest.mark.thorough
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("is_share", [False, True])
def test_coverage(regime, is_share):
    """95% intervals, of means and of shares of right answers; on k - 1 degrees they would be too long (the last)."""
    mean, share, cautious = covered(2000, regime, is_share)
    assert 0.93 < mean < 0.97
    assert 0.93 < share < 0.985  # 97.5% where seeds have no share, which lies at the end of what may be
    assert (cautious > 0.98) == (regime != "seeds")


def test_other_metrics_draw_all_seeds_on_the_same_examples():
    """A metric that is no mean: the draws of seeds that answer alike are the same, and nothing is left between them."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 80)
    made = np.where(rng.random(80) < 0.8, truth, 1 - truth)
    metric = METRICS["matthews_correlation"]
    draws = resampled_values(metric, [made] * 3, truth, 0, 500)
    found = crossed(np.full(3, metric(made, truth)), draws, 80)
    assert found.share == 0.0
    assert found.high - found.low == pytest.approx(2 * _quantile(79) * draws[0].std() * np.sqrt(80 / 79))


def covered_areas(n_runs, is_disjoint, noise, k=5, n_heads=12, n_scored=400):
    """The same of areas under curves, whose orders follow from samples of noisy scores of the heads.

    A head that goes loses what it is worth; examples are alike in all orders but for what they lose by each head.
    """
    rng, weights = np.random.default_rng(3), bootstrap()
    worth = 0.05 * np.abs(rng.normal(size=n_heads))
    trapezoid = np.array([0.5, *[1.0] * (n_heads - 1), 0.5]) / n_heads
    size = n_scored // k if is_disjoint else n_scored

    def areas(orders, losses):
        lost = np.stack([np.cumsum(losses[:, order], axis=1) for order in orders])
        return 1 - np.concatenate([np.zeros((*lost.shape[:2], 1)), lost], axis=2) @ trapezoid

    scores = worth + noise * rng.normal(size=(3000, n_heads)) / np.sqrt(size)
    truth, hits = areas(np.argsort(scores, axis=1), worth[None]).mean(), 0
    for _ in range(n_runs):
        scored = worth + noise * rng.normal(size=(n_scored, n_heads))
        losses = worth + 0.06 * rng.normal(size=(N, n_heads)) + 0.03 * rng.normal(size=(N, 1))
        drawn = rng.permutation(n_scored) if is_disjoint else rng.integers(0, n_scored, k * n_scored)
        by_sample = areas([scored[part].mean(axis=0).argsort() for part in np.array_split(drawn, k)], losses)
        of_curve = areas([scored.mean(axis=0).argsort()], losses).mean()
        found = crossed(by_sample.mean(1), by_sample @ weights.T, N, value=None if is_disjoint else of_curve)
        hits += found.low <= truth <= found.high
    return hits / n_runs


@pytest.mark.parametrize("is_disjoint", [True, False])
def test_coverage_of_areas_on_a_few_runs(is_disjoint):
    assert 0.9 < covered_areas(150, is_disjoint, 0.4) < 0.99


@pytest.mark.thorough
@pytest.mark.parametrize("noise", [0.2, 0.4])
@pytest.mark.parametrize("is_disjoint", [True, False])
def test_coverage_of_areas(is_disjoint, noise):
    assert 0.93 < covered_areas(2000, is_disjoint, noise) < 0.97
