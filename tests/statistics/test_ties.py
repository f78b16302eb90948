"""Ties, letters and agreement, by property and by other computations."""

from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.statistics.seeds import crossed
from prune_heads.statistics.ties import agreement, foreseen, from_zero, half_interval, letters

NAMES = "pqrstu"


@given(st.sets(st.sampled_from([frozenset(pair) for pair in combinations(NAMES, 2)])))
def test_two_names_share_a_letter_just_where_they_do_not_differ(differ):
    found = letters(list(NAMES), differ)
    for first, second in combinations(NAMES, 2):
        assert bool({*found[first]} & {*found[second]}) == (frozenset((first, second)) not in differ)
    groups = [{name for name in NAMES if letter in found[name]} for letter in {*"".join(found.values())}]
    assert all(not one < other for one in groups for other in groups)
    assert "a" in found[NAMES[0]]


def test_letters_are_one_character_each_however_many():
    """Six pairs that differ leave 64 largest sets without one: of "aa" a reader could not say whether it has "a"."""
    pairs = [frozenset(pair) for pair in zip("abcdef", "ghijkl", strict=True)]
    found = letters("abcdefghijkl", pairs)
    assert len({*"".join(found.values())}) == 64
    assert all(len(each) == 32 == len({*each}) for each in found.values())
    assert {*found["a"]} & {*found["b"]}
    assert not {*found["a"]} & {*found["g"]}


def test_letters_do_not_depend_on_the_order_of_the_pairs():
    pairs = [frozenset(pair) for pair in combinations(NAMES, 2)][::2]
    assert letters(list(NAMES), pairs) == letters(list(NAMES), pairs[::-1])


def test_of_seeds_alone_the_test_is_students():
    """Where no example varies it is a t test of one sample."""
    values = np.array([0.3, 0.1, 0.45, 0.2, -0.05])
    found = crossed(values, np.repeat(values[:, None], 50, axis=1), 1000)
    got, theirs = from_zero(vars(found)), scipy.stats.ttest_1samp(values, 0.0)
    assert got["p"] == pytest.approx(theirs.pvalue)
    assert got["error"] == pytest.approx(values.std(ddof=1) / 5**0.5)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_where_nothing_varies_a_difference_is_sure(value, p):
    values = np.full(3, value)
    found = crossed(values, np.full((3, 9), value), 10)
    assert from_zero(vars(found)) == {"error": 0.0, "p": p}


def test_the_interval_of_a_difference_of_means_is_welchs():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=6), rng.normal(0, 3, size=9)
    parts = [(each.var(ddof=1) / len(each), len(each) - 1.0) for each in (a, b)]
    theirs = scipy.stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert half_interval(parts) == pytest.approx((theirs.high - theirs.low) / 2)
    assert half_interval([(0.0, 3.0)]) == 0


def test_agreement_is_the_mean_of_all_pairs_with_a_jackknife():
    rows = np.random.default_rng(0).normal(size=(4, 12)) + np.linspace(0, 3, 12)

    def mean(of):
        return np.mean([scipy.stats.spearmanr(rows[a], rows[b]).statistic for a, b in combinations(of, 2)])

    found, whole = agreement(rows), mean(range(4))
    without = np.array([mean([i for i in range(4) if i != out]) for out in range(4)])
    error = np.sqrt(3 / 4 * np.sum((without - without.mean()) ** 2))
    assert found["value"] == pytest.approx(whole)
    assert found["high"] - whole == pytest.approx(scipy.stats.t.isf(0.025, 3) * error)
    assert agreement(rows[:2])["low"] is None
    assert agreement(rows[:1]) is None
    assert agreement(np.zeros((3, 12))) is None


def test_foreseen_is_the_mean_over_samples_and_sizes():
    rng = np.random.default_rng(1)
    sizes, measured = np.repeat([2, 3], 30), rng.normal(size=60)
    summed = measured + rng.normal(size=(3, 60))
    found = foreseen(summed, measured, sizes)
    by_hand = [[scipy.stats.spearmanr(row[:30], measured[:30]).statistic for row in summed]]
    by_hand += [[scipy.stats.spearmanr(row[30:], measured[30:]).statistic for row in summed]]
    assert found["value"] == pytest.approx(np.mean(by_hand))
    assert found["low"] < found["value"] < found["high"] < 1.2
    wider = foreseen(summed, measured, sizes, is_disjoint=False)
    assert wider["value"] == found["value"]
    assert wider["high"] > found["high"]
    assert foreseen(np.zeros((3, 60)), measured, sizes) is None
    assert foreseen(summed[:, :0], measured[:0], sizes[:0]) is None


@pytest.mark.thorough
def test_intervals_of_what_is_foreseen_hold_as_often_as_they_say():
    """Of masks drawn anew, with two samples that agree but for noise."""
    rng, n_masks, held = np.random.default_rng(2), 60, 0
    truth = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman of normals with a correlation of a half
    for _ in range(300):
        common = rng.normal(size=n_masks)
        measured = 0.5 * common + 0.75**0.5 * rng.normal(size=n_masks)
        found = foreseen(np.stack([common, common]), measured, np.full(n_masks, 4))
        held += found["low"] <= truth <= found["high"]
    assert 0.9 <= held / 300 <= 0.99
