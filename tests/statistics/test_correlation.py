"""Correlations with their intervals: textbook values, coverage, and where they are undefined."""

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_heads.statistics import correlate, correlate_within

IQ = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
TELEVISION = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
NUMBERS = st.lists(st.none() | st.floats(-1, 1) | st.sampled_from([0.0, 0.1]), min_size=6, max_size=6)


def test_spearman_of_a_textbook():
    """Squared differences of ranks sum to 194, so r = 1 - 6 * 194 / (10 * 99) = -29 / 165."""
    got = correlate(IQ, TELEVISION)
    assert got["n_heads"] == 10
    assert got["spearman"]["value"] == pytest.approx(-29 / 165)
    # arctanh(r) = -0.17760 and its error sqrt(1.015446 / 7) = 0.38087: from -0.92409 to 0.56890
    assert (got["spearman"]["low"], got["spearman"]["high"]) == pytest.approx(
        (np.tanh(-0.92409), np.tanh(0.56890)), abs=2e-5
    )


def test_pearson_has_fishers_interval():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(12, 12))
    b = a + rng.normal(size=(12, 12))
    got = correlate(a, b)["pearson"]
    r = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    half = scipy.stats.norm.ppf(0.975) / np.sqrt(141)
    assert got["value"] == pytest.approx(r)
    assert (got["low"], got["high"]) == pytest.approx((np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)))


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """400 samples of 40 from two normal variables, whose Spearman correlation is 6 / pi * arcsin(r / 2)."""
    rng, r = np.random.default_rng(0), 0.6
    true = {"pearson": r, "spearman": 6 / np.pi * np.arcsin(r / 2)}
    held = dict.fromkeys(true, 0)
    for _ in range(400):
        got = correlate(*rng.multivariate_normal([0, 0], [[1, r], [r, 1]], size=40).T)
        for name in true:
            held[name] += got[name]["low"] <= true[name] <= got[name]["high"]
    low, high = scipy.stats.binom.interval(0.999, 400, 0.95)
    assert all(low <= count <= high for count in held.values())


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_json_has_no_nan_whatever_comes(first, second):
    got = correlate(first, second)
    assert set(got) == {"n_heads", "pearson", "spearman"}
    json.dumps(got, allow_nan=False)
    for estimate in (got["pearson"], got["spearman"]):
        if estimate["value"] is not None:
            assert -1 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    assert correlate(second, first)["n_heads"] == got["n_heads"]


def test_the_json_of_a_perfect_agreement():
    exact = pytest.approx({"value": 1.0, "low": 1.0, "high": 1.0})
    assert correlate([1, 2, 3, 5], [1, 2, 3, 5]) == {"n_heads": 4, "pearson": exact, "spearman": exact}


@pytest.mark.parametrize(
    ("first", "n"),
    [([0.1, 0.2, None, None, 0.4], 3), ([0.3] * 5, 5), ([0.3, 0.3, 0.3, 0.3, 0.1 + 0.2], 5), ([0.0] * 5, 5)],
    ids=["three heads", "constant", "constant but for rounding", "nothing changed"],
)
def test_undefined(first, n):
    got, nothing = correlate(first, [1, 2, 3, 4, 6]), {"value": None, "low": None, "high": None}
    assert (got["n_heads"], got["pearson"], got["spearman"]) == (n, nothing, nothing)


def test_heads_that_one_side_lacks_are_left_out():
    got = correlate([[1, 2, 9], [None, 4, 3]], [[1, 3, np.nan], [7, 9, 4]])
    assert got == correlate([1, 2, 4, 3], [1, 3, 9, 4])


def test_what_cannot_be_correlated():
    with pytest.raises(ValueError, match="the same heads"):
        correlate(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="infinity"):
        correlate([1, 2, 3, np.inf], [1, 2, 3, 4])


def test_within_groups_is_the_partial_correlation_of_ranks_given_the_group():
    """By regression on dummies; depth alone makes a correlation over all that is none within."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(5), 6)
    first, second = groups + rng.normal(size=(2, 30))
    dummies = np.eye(5)[groups]
    left = [
        ranks - dummies @ np.linalg.lstsq(dummies, ranks, rcond=None)[0]
        for ranks in (scipy.stats.rankdata(side) for side in (first, second))
    ]
    found = correlate_within(first, second, groups)
    assert found["value"] == pytest.approx(np.corrcoef(left)[0, 1])
    assert found["low"] < found["value"] < found["high"]
    assert found["value"] < correlate(first, second)["spearman"]["value"] - 0.3
    alone = correlate_within(first, second, np.zeros(30))
    assert alone == pytest.approx(correlate(first, second)["spearman"])


def test_within_groups_what_was_not_measured_is_left_out_and_what_is_constant_undefined():
    first, second, groups = [1, 2, None, 3, 5, 4, 9], [2, 1, 3, 5, 4, 4, None], [0, 0, 0, 1, 1, 1, 1]
    kept = [0, 1, 3, 4, 5]
    wanted = correlate_within(*([side[i] for i in kept] for side in (first, second, groups)))
    assert correlate_within(first, second, groups) == wanted
    nothing = dict.fromkeys(("value", "low", "high"))
    assert correlate_within([1, 1, 1, 2, 2, 2], [1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1]) == nothing
    assert correlate_within([1, 2, 3], [1, 2, 3], [0, 0, 0]) == nothing
    assert correlate_within([], [], []) == nothing
