"""All heads at once: oracles, properties, and simulations of what the intervals and p-values promise."""

import numpy as np
import pytest
import scipy.stats

from prune_heads.statistics import METRICS
from prune_heads.statistics.differences import mcnemar
from prune_heads.statistics.groups import clustered_mcnemar, sums_by_group
from prune_heads.statistics.joint import joint, max_t, mean_differences, metric_differences
from prune_heads.statistics.ranking import rank_intervals, reliability, shrunk
from tests.statistics.grouped import group_t

NORMAL = 1e12  # degrees of freedom of a t distribution that is a normal one


def heads(rng, n, truth, *, shared=0.3, n_groups=None):
    """What changes in each of n examples: heads share a part, examples of a group too, and tails are heavy."""
    n_heads = len(truth)
    groups = None if n_groups is None else np.sort(rng.integers(0, n_groups, n))
    changes = truth + shared * rng.normal(size=(n, 1)) + 0.3 * rng.standard_t(5, (n, n_heads))
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]
        changes = changes + 0.3 * rng.normal(size=(n_groups, n_heads))[groups]
    return changes, groups


def labels(rng, n, n_heads):
    """Labels of the base and under each mask, and the truth."""
    truth = rng.integers(0, 2, n)
    base = np.where(rng.random(n) < 0.2, 1 - truth, truth)
    return base, [np.where(rng.random(n) < 0.1, 1 - base, base) for _ in range(n_heads)], truth


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews_correlation"])
def test_the_observed_is_the_metric(metric):
    base, masked, truth = labels(np.random.default_rng(0), 60, 4)
    found = joint(metric_differences(METRICS[metric], base, masked, truth), seed=0, n_resamples=50)
    expected = [METRICS[metric](each, truth) - METRICS[metric](base, truth) for each in masked]
    assert found.observed == pytest.approx(expected, abs=1e-12)
    assert found.draws.shape == (4, 50)


def test_errors_are_those_of_the_mean():
    """And of groups those of sums over them."""
    changes, groups = heads(np.random.default_rng(1), 300, np.zeros(5), n_groups=60)
    alone = joint(mean_differences(changes), seed=0)
    assert alone.errors == pytest.approx(changes.std(axis=0) / np.sqrt(300), rel=0.05)
    assert np.corrcoef(changes.T) == pytest.approx(np.corrcoef(alone.draws), abs=0.08)
    sums = sums_by_group(changes - changes.mean(axis=0), groups)
    whole = joint(mean_differences(changes, groups), seed=0)
    assert whole.errors == pytest.approx(np.sqrt((sums**2).sum(axis=0)) / 300, rel=0.06)
    assert (whole.errors > 1.1 * alone.errors).all()
    assert np.array_equal(joint(mean_differences(changes, np.arange(300)), seed=0).draws, alone.draws)


def test_one_head_and_accuracy_is_mcnemar():
    """But for the number of draws; and many copies of it need no correction, where Holm's is that of as many heads."""
    rng = np.random.default_rng(2)
    base, truth = np.ones(80, dtype=int), np.ones(80, dtype=int)
    base[:12] = 0
    masked = np.where(np.arange(80) < 15, 1 - base, base)  # 12 gained, 3 lost
    exact = mcnemar(base == truth, masked == truth)
    one = metric_differences(METRICS["accuracy"], base, [masked], truth)
    assert max_t(one, seed=0, n_draws=20_000)[0] == pytest.approx(exact, rel=0.08)
    copies = metric_differences(METRICS["accuracy"], base, [masked] * 50, truth)
    assert max_t(copies, seed=0, n_draws=20_000) == pytest.approx(np.full(50, exact), rel=0.08)
    changes = rng.normal(0.2, 1, (60, 1))
    expected = scipy.stats.permutation_test((changes[:, 0],), np.mean, permutation_type="samples", rng=0).pvalue
    assert max_t(mean_differences(changes), seed=0)[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("metric", ["f1", "matthews_correlation", "pearson"])
def test_exchanged_answers(metric):
    """All exchanged is the other way round; some by hand."""
    rng = np.random.default_rng(4)
    base, (masked,), truth = labels(rng, 40, 1)
    measure, swaps = METRICS[metric], rng.integers(0, 2, 40)
    found = metric_differences(measure, base, [masked], truth)
    by_hand = measure(np.where(swaps, base, masked), truth) - measure(np.where(swaps, masked, base), truth)
    rows = found.swapped(np.stack([np.zeros(40), np.ones(40), swaps.astype(float)]))[0]
    observed = measure(masked, truth) - measure(base, truth)
    assert rows == pytest.approx([observed, -observed, by_hand], abs=1e-12)


def test_stepping_down():
    """The head that is farthest is compared with the largest of all, the next with the largest of the others."""
    changes, _ = heads(np.random.default_rng(3), 200, np.array([0.2, 0.05, 0.0]))
    found, alone = max_t(mean_differences(changes), seed=0), max_t(mean_differences(changes[:, 1:]), seed=0)
    assert found[0] < found[1]
    assert found[1:] == pytest.approx(alone, abs=1e-12)


def test_heads_that_change_nothing():
    changes = np.zeros((30, 3))
    changes[:, 0] = np.random.default_rng(0).normal(2, 1, 30)
    of = mean_differences(changes)
    found, p_values = joint(of, seed=0, n_resamples=500), max_t(of, seed=0)
    low, high = found.simultaneous()
    assert p_values[1:].tolist() == [1, 1]
    assert p_values[0] < 0.01
    assert (low[1:].tolist(), high[1:].tolist()) == ([0, 0], [0, 0])
    assert [each.tolist() for each in rank_intervals(found)] == [[3, 1, 1], [3, 2, 2]]
    of = mean_differences(np.zeros((30, 2)))
    nothing = joint(of, seed=0, n_resamples=50)
    assert max_t(of, seed=0).tolist() == [1, 1]
    assert nothing.critical() == pytest.approx(scipy.stats.norm.isf(0.025 / 2))
    assert nothing.smallest_difference() == 0
    assert [each.tolist() for each in rank_intervals(nothing)] == [[1, 1], [2, 2]]


def test_ranks_of_heads_far_apart_are_certain():
    changes, _ = heads(np.random.default_rng(4), 400, np.array([3.0, -1.0, 1.0, 1.0]))
    first, last = rank_intervals(joint(mean_differences(changes), seed=0))
    assert (first.tolist(), last.tolist()) == ([4, 1, 2, 2], [4, 1, 3, 3])


def test_one_example_or_group_shows_nothing():
    for groups in (None, np.zeros(5, dtype=int)):
        n = 1 if groups is None else 5
        found = joint(mean_differences(np.ones((n, 2)), groups), seed=0, n_resamples=99)
        assert [test.p_value for test in found.tests("t", [None, None])] == [1, 1]
    with pytest.raises(ValueError, match=r"some examples, got none"):
        joint(mean_differences(np.ones((0, 2))), seed=0)


def test_reliability_of_known_variances():
    """Of normal errors it is the share of true variance, by Pearson's correlation; by ranks a little less."""
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 0.03, 3000)
    changes = truth + rng.normal(0, 0.6, (400, 3000))
    expected = truth.var() / (truth.var() + 0.6**2 / 400)
    found = reliability(mean_differences(changes), seed=0, n_splits=20)
    assert found["reliability"] == pytest.approx(expected, abs=0.04)
    assert found["split_half"] == pytest.approx(found["reliability"] / (2 - found["reliability"]), rel=1e-9)


@pytest.mark.parametrize("truth", [np.zeros(2), np.arange(3.0)])
def test_reliability_where_there_is_none(truth):
    """Too few heads, or none that differ."""
    changes = np.zeros((20, 1)) if len(truth) == 3 else np.random.default_rng(0).normal(size=(20, 2))
    found = reliability(mean_differences(changes + (0 if len(truth) == 2 else np.zeros(3))), seed=0)
    assert found == {"split_half": None, "reliability": None}


def posterior(observed, noise, spread):
    """Values, their covariance without shared noise, and the mean, by matrices: generalised least squares."""
    n, ones = len(observed), np.ones(len(observed))
    centre = np.eye(n) - 1 / n
    own = np.diag(centre @ noise @ centre) * n / (n - 1)
    true = own * spread**2 / np.median(np.sqrt(own)) ** 2
    inverse = np.diag(1 / (own + true))
    mean = ones @ inverse @ observed / inverse.sum()
    left = ones - np.diag(true) @ inverse @ ones
    around = np.diag(true) - np.diag(true) @ inverse @ np.diag(true)
    values = mean + np.diag(true) @ inverse @ (observed - mean)
    return values, around + np.outer(left, left) / inverse.sum(), mean


def test_halves_without_a_difference_agree_by_nothing():
    """Heads that change one example each: in every split two heads are in one half, and so are no others there."""
    changes = np.zeros((40, 3))
    changes[0, 0], changes[1, 1] = -1, 1
    found = reliability(mean_differences(changes), seed=0, n_splits=400)
    # Both in one half: the other has no order, 0. Apart: ranks (1, 2.5, 2.5) and (1.5, 3, 1.5), which agree by 0.5.
    apart = 1 - 2 * (20 * 19) / (40 * 39)
    assert found["split_half"] == pytest.approx(0.5 * apart, abs=0.04)


def test_the_smallest_difference_is_of_heads_that_change_something():
    rng, changes = np.random.default_rng(0), np.zeros((200, 5))
    changes[:, 0] = rng.normal(0, 1, 200)
    found = joint(mean_differences(changes), seed=0)
    assert found.smallest_difference() == pytest.approx((found.critical() + 0.8416) * found.errors[0], rel=1e-3)


def test_shrunk_is_the_posterior_of_its_variance():
    """The same numbers from the direct formulas, and the best spread of a grid by the restricted likelihood."""
    rng = np.random.default_rng(6)
    root = rng.normal(size=(8, 8)) * 0.1
    noise, truth = root @ root.T + 0.01 * np.eye(8), rng.normal(1, 0.5, 8)
    observed = truth + np.linalg.cholesky(noise) @ rng.normal(size=8)
    found = shrunk(observed, noise, seed=0, degrees=NORMAL)
    values, covariance, mean = posterior(observed, noise, found.spread)
    assert found.mean == pytest.approx(mean, rel=1e-4)
    assert found.values == pytest.approx(values, rel=1e-4)
    shared = max(0.0, (noise.sum() - np.trace(noise)) / 56)
    assert found.errors == pytest.approx(np.sqrt(np.diag(covariance) + shared), rel=1e-4)
    assert found.in_lower_half.sum() == pytest.approx(4, abs=1e-9)

    def likelihood(spread):
        centre = np.eye(8) - 1 / 8
        own = np.diag(centre @ noise @ centre) * 8 / 7
        variances = own * (1 + spread**2 / np.median(np.sqrt(own)) ** 2)
        mean = (observed / variances).sum() / (1 / variances).sum()
        return -(np.log(variances).sum() + np.log((1 / variances).sum()) + ((observed - mean) ** 2 / variances).sum())

    others = found.spread * np.array([0.5, 0.9, 1.1, 2.0])
    assert likelihood(found.spread) > max(likelihood(each) for each in others)


def test_spread_is_what_noise_does_not_explain():
    """With equal errors the restricted maximum is the variance of the heads less that of the noise, or 0."""
    observed = np.array([0.3, -0.1, 0.2, 0.8, -0.6, 0.1])
    found = shrunk(observed, 0.04 * np.eye(6), seed=0, degrees=NORMAL)
    assert found.spread**2 == pytest.approx(observed.var(ddof=1) - 0.04, rel=1e-3)
    nothing = shrunk(observed, 2.0 * np.eye(6), seed=0)
    assert nothing.values == pytest.approx(np.full(6, observed.mean()), abs=0.01)
    assert shrunk(observed, np.zeros((6, 6)), seed=0).values == pytest.approx(observed, rel=1e-4)


def test_noise_that_all_heads_share_shrinks_none():
    """A joint error moves all heads alike: it says nothing of their differences."""
    observed = np.array([0.3, -0.1, 0.2, 0.8])
    found = shrunk(observed, np.full((4, 4), 5.0) + 1e-6 * np.eye(4), seed=0)
    assert found.values - found.values.mean() == pytest.approx(observed - observed.mean(), abs=1e-3)
    assert found.errors == pytest.approx(np.full(4, np.sqrt(5)), rel=0.02)


def test_one_head_that_matters_stays():
    """Among heads that do nothing, one that is eleven errors away loses less than one of them."""
    observed = np.where(np.arange(24) == 5, -0.24, np.random.default_rng(0).normal(0, 0.003, 24))
    found = shrunk(observed, np.diag(np.where(np.arange(24) == 5, 0.02, 0.003) ** 2), seed=0)
    assert -0.24 < found.values[5] < -0.22
    assert np.abs(np.delete(found.values, 5)).max() < np.abs(np.delete(observed, 5)).max()
    assert found.in_lower_half[5] == 1


def test_a_pattern_that_heads_share_is_no_noise():
    """Most heads change the same few examples, each as much as it matters: 200 examples of which the truth is known."""
    rng, raw, kept, inside = np.random.default_rng(0), [], [], []
    for _ in range(30):
        truth = -0.02 * np.abs(rng.standard_t(2, 36))
        changes = truth * rng.gamma(0.3, 1 / 0.3, (200, 1)) + 0.02 * rng.standard_t(5, (200, 36))
        observed = changes.mean(axis=0)
        found = shrunk(observed, np.cov(changes.T) / 200, seed=0, n_draws=2)
        raw.append(np.mean((observed - truth) ** 2))
        kept.append(np.mean((found.values - truth) ** 2))
        inside.append(np.mean(np.abs(found.values - truth) < 1.96 * found.errors))
    assert np.mean(kept) < np.mean(raw)
    assert 0.93 < np.mean(inside) < 0.985


@pytest.mark.slow
def test_the_winner_is_less_cursed():
    """Over 100 tables the best raw difference is too good; the estimate much less, and its errors are right."""
    rng, raw, kept, inside = np.random.default_rng(7), [], [], []
    for _ in range(100):
        truth = 0.01 * rng.standard_t(3, 36)
        changes, _ = heads(rng, 300, truth)
        observed = changes.mean(axis=0)
        found = shrunk(observed, np.cov(changes.T) / 300, seed=0, n_draws=2)
        raw.append(observed.max() - truth[observed.argmax()])
        kept.append(found.values.max() - truth[found.values.argmax()])
        inside.append(np.mean(np.abs(found.values - truth) < 1.96 * found.errors))
    assert np.mean(raw) > 0.02
    assert abs(np.mean(kept)) < np.mean(raw) / 3
    assert 0.93 < np.mean(inside) < 0.98


@pytest.mark.parametrize(
    ("n_runs", "n_groups"),
    [
        (100, None),
        pytest.param(2000, None, marks=pytest.mark.thorough),
        pytest.param(2000, 60, marks=pytest.mark.thorough),
    ],
)
def test_simulation(n_runs, n_groups):
    """Intervals that hold together hold 93 to 97% of the time, ranks at least so often; without an effect 5% or less.

    With 20 heads, 250 examples, heavy tails and heads that share noise. Limits are widened by two standard errors of
    so many runs.
    """
    truth, n = np.linspace(-0.1, 0.1, 20), 250
    ranks, slack = np.arange(1, 21), 2 * np.sqrt(0.05 * 0.95 / n_runs)
    inside, ranked, false = [], [], []
    for run in range(n_runs):
        changes, groups = heads(np.random.default_rng([8, run]), n, truth, n_groups=n_groups)
        found = joint(mean_differences(changes, groups), seed=run, n_resamples=500)
        low, high = found.simultaneous()
        inside.append(((low <= truth) & (truth <= high)).all())
        first, last = rank_intervals(found)
        ranked.append(((first <= ranks) & (ranks <= last)).all())
        null = max_t(mean_differences(changes - truth, groups), seed=run, n_draws=500)
        false.append((null <= 0.05).any())
    assert 0.93 - slack <= np.mean(inside) <= 0.97 + slack
    assert np.mean(ranked) >= 0.95 - slack
    assert np.mean(false) <= 0.05 + slack


def test_clustered_p_values_hold_their_level():
    """Obuchowski's test and the t test on groups, without an effect, of 40 groups: 5% of 2,000 samples, or a bit less.

    McNemar's, which takes the examples for independent, rejects more often.
    """
    rng, p_values = np.random.default_rng(9), []
    groups = np.repeat(np.arange(40), 5)
    for _ in range(2000):
        tendency = rng.normal(size=40)[groups]
        changes = np.where(rng.random(200) < 0.3, np.sign(tendency + 0.5 * rng.normal(size=200)), 0)
        before = np.where(changes < 0, 1, 0)
        after = np.where(changes > 0, 1, 0)
        by_t = group_t(changes[:, None], groups)[0]
        p_values.append(
            [clustered_mcnemar(before, after, groups), by_t, clustered_mcnemar(before, after, np.arange(200))]
        )
    shares = (np.array(p_values) < 0.05).mean(axis=0)
    assert max(shares[:2]) <= 0.06
    assert shares[2] > 0.1


def test_lower_half_is_the_posterior():
    """Of two heads, the chance that the first is lower is that of a normal difference; of equal heads one half."""
    noise, observed = np.array([[0.04, 0.01], [0.01, 0.09]]), np.array([0.0, 0.7])
    found = shrunk(observed, noise, seed=0, degrees=NORMAL, n_draws=200_000)
    values, covariance, _ = posterior(observed, noise, found.spread)
    expected = scipy.stats.norm.cdf((values[1] - values[0]) / np.sqrt(np.trace(covariance)))
    assert 0.8 < expected < 0.99
    assert found.in_lower_half[0] == pytest.approx(expected, abs=0.004)
    equal = shrunk(np.full(4, 0.3), 0.01 * np.eye(4), seed=0)
    assert equal.in_lower_half == pytest.approx(np.full(4, 0.5), abs=0.03)
