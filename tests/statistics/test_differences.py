"""Tests and intervals of paired differences: known answers, calibration, coverage, and the edges."""

from dataclasses import asdict
from math import comb

import numpy as np
import pytest
import scipy.stats
from counts import drawn_counts
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.errors import NotFiniteError
from prune_heads.statistics import (
    METRICS,
    area_under_curve,
    compare_areas,
    compare_paired,
    holm,
    mean_of,
    metric_interval,
    paired_bootstrap,
)
from prune_heads.statistics.differences import mcnemar
from prune_heads.statistics.joint import compare_means

NAMES = sorted(METRICS)
SCORES = ("pearson", "spearmanr")
TEXTS = ("log_likelihood", "perplexity")


def population(name, rng, n, errors=(0.2, 0.2)):
    """First and second prediction with errors of these shares (or deviations), and the truth."""
    if name in SCORES:
        truth = rng.normal(size=n)
        return *(truth + 5 * error * rng.normal(size=n) for error in errors), truth
    if name in TEXTS:
        n_tokens = rng.integers(5, 30, n)
        return *(-n_tokens * (2 + error + 0.3 * rng.normal(size=n)) for error in errors), n_tokens
    if name == "bleu":
        return *(drawn_counts(rng, n, quality=0.9 - error) for error in errors), rng.integers(1, 13, n)
    truth = rng.integers(0, 2, n)
    return *(np.where(rng.random(n) < error, 1 - truth, truth) for error in errors), truth


def discordant(gained, lost, both=20):
    """Whether two predictions of label 1 are right, where just one of the two is wrong now and then."""
    truth = np.ones(gained + lost + both, dtype=int)
    first, second = truth.copy(), truth.copy()
    first[:gained] = 0
    second[gained : gained + lost] = 0
    return first == truth, second == truth


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(10, 3, 756 / 8192), (3, 10, 756 / 8192), (0, 8, 2 / 256), (1, 0, 1.0), (5, 5, 1.0), (0, 0, 1.0)],
)
def test_mcnemar_by_hand(gained, lost, p):
    """10 against 3: twice (1 + 13 + 78 + 286) of the 2^13 ways for 13 coins to fall."""
    assert mcnemar(*discordant(gained, lost)) == pytest.approx(p, rel=1e-12)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_counts_coins_and_is_symmetric(gained, lost, both):
    first, second = discordant(gained, lost, both + 1)
    n, tail = gained + lost, min(gained, lost)
    expected = min(1, 2 * sum(comb(n, k) for k in range(tail + 1)) / 2**n)
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_accuracy_is_tested_exactly_with_an_interval_of_the_bootstrap():
    """For many examples the interval is the normal one of a paired mean."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 2000)
    first = np.where(rng.random(2000) < 0.9, truth, (truth + 1) % 3)
    second = np.where(rng.random(2000) < 0.1, (first + 1) % 3, first)
    got = compare_paired("accuracy", first, second, truth, seed=0)
    paired = (second == truth).astype(float) - (first == truth)
    half = 1.96 * paired.std(ddof=1) / np.sqrt(2000)
    assert (got.test, got.p_value) == ("exact McNemar", mcnemar(first == truth, second == truth))
    assert got.value == pytest.approx(paired.mean())
    assert (got.low, got.high) == pytest.approx((got.value - half, got.value + half), abs=0.05 * half)


@pytest.mark.parametrize("name", SCORES)
def test_the_other_way_round_is_the_mirror_image(name):
    first, second, truth = population(name, np.random.default_rng(0), 60)
    there = compare_paired(name, first, second, truth, seed=0, n_resamples=500)
    back = compare_paired(name, second, first, truth, seed=0, n_resamples=500)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert back.p_value == there.p_value


@pytest.mark.parametrize("name", ["f1", "matthews_correlation"])
def test_the_other_way_round_nearly_so_for_labels(name):
    """Cells come in another order then, so the draws are others."""
    first, second, truth = population(name, np.random.default_rng(0), 200)
    there = compare_paired(name, first, second, truth, seed=0)
    back = compare_paired(name, second, first, truth, seed=0)
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=0.005)
    assert back.p_value == pytest.approx(there.p_value, abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_p_values_under_the_hypothesis_are_not_too_small(name):
    """Of 400 comparisons of equally good predictions, about 5 % are below 0.05, and about half below a half."""
    rng, p_values = np.random.default_rng(5), []
    for i in range(400):
        data = population(name, rng, 150)
        p_values.append(compare_paired(name, *data, seed=i, n_resamples=200).p_value)
    low, high = scipy.stats.binom.interval(0.999, 400, [0.06, 0.5])
    assert np.sum(np.array(p_values) < 0.05) <= high[0]
    assert low[1] * 0.8 <= np.sum(np.array(p_values) < 0.5) <= high[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_difference_passes_the_correction_over_144_heads(name):
    first, second, truth = population(name, np.random.default_rng(0), 400, errors=(0.05, 0.3))
    got = compare_paired(name, first, second, truth, seed=0)
    assert got.low > 0 if name == "perplexity" else got.high < 0  # the one metric of which less is better
    assert 0 < holm([got.p_value] + 143 * [1.0])[0] < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_intervals_hold_the_truth_about_as_often_as_they_say(name):
    """Coverage over 120 samples of 150 from a population of 20,000."""
    rng = np.random.default_rng(1)
    first, second, truth = population(name, rng, 20_000, errors=(0.1, 0.2))
    value = METRICS[name]
    of_first, of_second = float(value(first, truth)), float(value(second, truth))
    held = np.zeros(3, dtype=int)
    for i in range(120):
        sample = rng.integers(0, 20_000, 150)
        data = (first[sample], second[sample], truth[sample])
        slow = paired_bootstrap(name, *data, seed=i, n_resamples=300)
        fast = compare_paired(name, *data, seed=i, n_resamples=300)
        low, high = metric_interval(name, data[0], data[2], seed=i, n_resamples=300)
        for row, (lower, true, upper) in enumerate(
            [
                (slow.low, of_second - of_first, slow.high),
                (fast.low, of_second - of_first, fast.high),
                (low, of_first, high),
            ]
        ):
            held[row] += lower <= true <= upper
    low, high = scipy.stats.binom.interval(0.9999, 120, 0.94)
    assert ((low <= held) & (held <= high)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_function_of_the_seed(name):
    data = population(name, np.random.default_rng(0), 50)
    a, b, c = (compare_paired(name, *data, seed=seed, n_resamples=500) for seed in (0, 0, 1))
    assert a == b
    assert (a.low, a.high) != (c.low, c.high)
    assert metric_interval(name, *data[1:], seed=0, n_resamples=500) == metric_interval(
        name, *data[1:], seed=0, n_resamples=500
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_same_predictions(name):
    first, _, truth = population(name, np.random.default_rng(0), 20)
    got = compare_paired(name, first, first.copy(), truth, seed=0)
    assert (got.value, got.low, got.high, got.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_one_example_proves_nothing(name):
    rows = np.array([[1] * 10, [2] * 10]) if name == "bleu" else np.array([0, 1])
    got = compare_paired(name, rows[:1], rows[1:], np.array([1]), seed=0)
    assert (got.low, got.high, got.p_value) == (got.value, got.value, 1.0)


@pytest.mark.parametrize("n", [2, 5])
def test_few_examples_prove_little(n):
    """Scores that all fall: of so many signs all are alike by chance with a probability of 2^(1 - n), in groups too."""
    first, truth = np.zeros(3 * n), np.zeros(3 * n)
    second = np.tile([1.0, 1.1, 1.2], n)
    metric = mean_of("error", lambda made, true: np.abs(made - true))
    groups = np.repeat(np.arange(n), 3)
    assert compare_paired(metric, first[:n], second[:n], truth[:n], seed=0).p_value == 2.0 ** (1 - n)
    assert compare_paired(metric, first, second, truth, seed=0, groups=groups).p_value == 2.0 ** (1 - n)
    assert compare_paired("f1", *np.tile([[0, 1], [1, 0], [0, 1]], 20), seed=0, groups=np.zeros(40, int)).p_value == 1


@pytest.mark.parametrize("side", [0, 1])
def test_of_answers_that_are_all_right_or_all_wrong_the_interval_is_wilson_s(side):
    for n, groups in ((10, None), (4, np.repeat(np.arange(4), 3)), (1, np.zeros(5, int))):
        truth = np.ones(n if groups is None else len(groups), int)
        exact = scipy.stats.binomtest(n * side, n).proportion_ci(0.95, "wilson")
        found = metric_interval("accuracy", truth * side, truth, seed=0, n_resamples=99, groups=groups)
        assert found == pytest.approx((exact.low, exact.high), abs=1e-4)


def test_labels_all_alike_give_no_difference():
    """The metric is 0 on both sides; `why_undefined` says what to print."""
    got = compare_paired("matthews_correlation", np.array([0, 1, 1]), np.array([1, 1, 0]), np.ones(3, int), seed=0)
    assert (got.value, got.low, got.high, got.p_value) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("name", "first", "message"),
    [
        ("rouge", [0.0, 1.0], "one of accuracy"),
        ("bleu", [0.0, 1.0], "one length"),
        ("pearson", [0.0, 1.0, 2.0], "one length"),
        ("pearson", [[0.0, 1.0]], "one length"),
        ("pearson", [0.0, np.nan], "finite"),
    ],
)
def test_what_cannot_be_compared(name, first, message):
    rest = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    with pytest.raises((ValueError, NotFiniteError), match=message):
        compare_paired(name, np.array(first), *rest, seed=0)
    with pytest.raises((ValueError, NotFiniteError), match=message):
        metric_interval(name, np.array(first), rest[1], seed=0)


def test_no_examples():
    with pytest.raises(ValueError, match="not empty"):
        compare_paired("accuracy", *(np.array([], dtype=int),) * 3, seed=0)


def test_the_slow_bootstrap_of_accuracy_keeps_its_numbers():
    """Records of runs hold them: the interval for a seed may not change."""
    rng = np.random.default_rng(0)
    truth, first, second = (rng.integers(0, 2, 200) for _ in range(3))
    got = paired_bootstrap("accuracy", first, second, truth, seed=0)
    assert (got.value, got.low, got.high) == pytest.approx((-0.055, -0.145, 0.035), abs=1e-12)


@pytest.mark.parametrize(("name", "n"), [("accuracy", 3), ("f1", 80), ("pearson", 2500)])
def test_the_slow_bootstrap_is_that_of_scipy(name, n):
    """Resample by resample; of 2,500 examples there are several chunks."""
    first, second, truth = population(name, np.random.default_rng(n), n, errors=(0.1, 0.3))
    value = METRICS[name].weighted

    def difference(i, axis=-1):
        drawn = np.atleast_2d(np.moveaxis(i, axis, -1))
        weights = np.stack([np.bincount(row, minlength=n) for row in drawn]) * 1.0
        found = value(second, truth, weights) - value(first, truth, weights)
        return found if i.ndim > 1 else found[0]

    got = paired_bootstrap(name, first, second, truth, seed=7)
    kept = scipy.stats.bootstrap(
        (np.arange(n),),
        difference,
        vectorized=True,
        n_resamples=1000,
        batch=2_000_000 // n,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert (got.low, got.high) == pytest.approx(tuple(kept), abs=1e-12)


def test_the_slow_bootstrap_of_nothing_changed_and_one_example():
    same = paired_bootstrap("f1", np.array([1, 0, 1]), np.array([1, 0, 1]), np.array([1, 1, 1]), seed=0)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    one = paired_bootstrap("accuracy", np.array([1]), np.array([0]), np.array([1]), seed=0)
    assert (one.value, one.low, one.high) == (-1, -1, -1)


@pytest.mark.parametrize("name", NAMES)
def test_areas_are_compared_as_by_a_plain_bootstrap(name):
    """Against resamples drawn example by example, in standard deviations of the difference."""
    rng, fractions = np.random.default_rng(0), (0.0, 0.5, 1.0)
    drawn = [population(name, rng, 150) for _ in fractions]
    truth = drawn[0][2]
    first, second = [each[0] for each in drawn], [each[1] for each in drawn]
    value = METRICS[name].weighted

    def differences(places):
        weights = np.stack([np.bincount(row, minlength=150) for row in places]) * 1.0
        one, other = (np.stack([value(each, truth, weights) for each in curve], axis=-1) for curve in (first, second))
        return np.array([area_under_curve(fractions, points) for points in other - one])

    plain = differences(rng.integers(0, 150, (1500, 150)))
    found = compare_areas(name, fractions, first, second, truth, seed=1, n_resamples=4000)
    assert found.value == pytest.approx(differences(np.arange(150)[None])[0])
    gap = (np.array([found.low, found.high]) - np.quantile(plain, [0.025, 0.975])) / plain.std()
    assert np.abs(gap).max() < 0.35


def test_areas_of_the_same_predictions_do_not_differ():
    truth = np.array([0, 1, 1])
    same = compare_areas("accuracy", (0, 1), [truth, 1 - truth], [truth, 1 - truth], truth, seed=0)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_means_are_tested_as_the_mean_is_column_by_column():
    """All columns share their resamples: each is `compare_paired` of the mean, with the same draws."""
    rng = np.random.default_rng(3)
    differences = rng.normal([0.0, 0.3, 0.0], [1.0, 1.0, 0.0], size=(40, 3))
    found = compare_means(differences, seed=1, n_resamples=999)
    mean = mean_of("mean", lambda predictions, references: predictions)
    zeros = np.zeros(40)
    for column, test in zip(differences.T, found, strict=True):
        alone = compare_paired(mean, zeros, column, zeros, seed=1, n_resamples=999)
        assert asdict(test) == pytest.approx(asdict(alone), abs=1e-12)
    assert found[0].p_value > 0.05 > found[1].p_value >= 1 / 1000
    assert (found[2].value, found[2].low, found[2].p_value) == (0, 0, 1)
    assert [test.p_value for test in compare_means(differences[:1], seed=1, n_resamples=99)] == [1, 1, 1]
    with pytest.raises(ValueError, match="some examples"):
        compare_means(differences[:0], seed=1, n_resamples=9)
