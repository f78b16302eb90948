"""Intervals of a loss and what they show: published values, both sides alike, and coverage."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.statistics.margins import equivalent, kept_up_to, non_inferior, score_interval


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [
        (6, 16, 161, -0.1240, -0.0054),  # response before and after therapy (Fagerland, Lydersen and Laake, 2017, 8.7)
        (12, 2, 50, 0.0611, 0.3447),
        (0, 0, 100, -0.0370, 0.0370),  # z^2 / (n + z^2)
        (5, 0, 5, 0.1310, 1.0),
    ],
)
def test_tango(gained, lost, n, low, high):
    assert score_interval(gained, lost, n, 0.95) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400))
def test_both_sides_alike(gained, lost, both):
    n = max(1, gained + lost + both)
    low, high = score_interval(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert score_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)


def test_coverage_of_few_flips():
    """Of 200 examples about ten change: 90% intervals hold the truth in 90% of 4,000 samples."""
    rng, truth = np.random.default_rng(0), 0.02 - 0.03
    flips = rng.multinomial(200, [0.02, 0.03, 0.95], 4000)
    found = {tuple(row): score_interval(*row[:2], 200) for row in np.unique(flips, axis=0).tolist()}
    inside = np.mean([found[tuple(row)][0] <= truth <= found[tuple(row)][1] for row in flips.tolist()])
    assert 0.88 < inside < 0.92


@pytest.mark.parametrize(
    ("low", "high", "as_good", "same"),
    [
        (-0.005, 0.004, "kept", "kept"),
        (-0.005, 0.02, "kept", "open"),
        (-0.02, 0.004, "open", "open"),
        (-0.03, -0.011, "lost", "lost"),
        (0.011, 0.03, "kept", "lost"),
        (-0.01, 0.0, "open", "open"),  # a loss of the margin itself is not shown to be smaller
    ],
)
def test_verdicts(low, high, as_good, same):
    assert (non_inferior(low, high, 0.01), equivalent(low, high, 0.01)) == (as_good, same)


def test_two_one_sided_tests():
    """The 90% interval of a t test lies within the margins where both one-sided tests reject at 5%."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        changes = rng.normal(rng.normal(0, 0.3), 1, 40)
        low, high = scipy.stats.ttest_1samp(changes, 0).confidence_interval(0.9)
        tests = [("greater", -0.5), ("less", 0.5)]
        both = all(scipy.stats.ttest_1samp(changes, at, alternative=side).pvalue < 0.05 for side, at in tests)
        assert (equivalent(low, high, 0.5) == "kept") == both


def test_a_curve_stops_at_the_first_that_is_not_shown():
    assert kept_up_to(["kept", "kept", "open", "kept", "lost"]) == (2, 4)
    assert kept_up_to(["kept"]) == (1, 1)
    assert kept_up_to(["open", "open"]) == (0, 2)
