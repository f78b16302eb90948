"""Which heads go first."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.errors import HeadDescriptorError, NotFiniteError
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.selection import count_for_fraction, lowest_first, select, step_counts


def test_the_authors_count():
    assert [count_for_fraction(144, p / 100) for p in range(0, 101, 10)] == [
        int(144 * p / 100) for p in range(0, 101, 10)
    ]
    assert count_for_fraction(100, 0.29) == 29  # int(100 * 0.29) would be 28
    assert count_for_fraction(72, 0.5) == 36


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_fractions_beyond_all_heads_are_refused(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        count_for_fraction(10, fraction)


def test_lowest_first_and_ties_in_order():
    scores = HeadScores(([0.5, 0.1, 0.1], [0.1, 0.9]))
    assert [str(select(scores, n)) for n in range(6)] == [
        "",
        "1:2",
        "1:2,3",
        "1:2,3 2:1",
        "1:1,2,3 2:1",
        "1:1,2,3 2:1,2",
    ]


@st.composite
def cases(draw):
    n_heads = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    seed, least = draw(st.integers(0, 99)), draw(st.integers(0, 3))
    flat = np.random.default_rng(seed).integers(0, 4, size=sum(n_heads)).astype(float)
    most = sum(max(0, n - least) for n in n_heads)
    return HeadScores.from_flat(flat, n_heads), draw(st.integers(0, most)), least


@given(cases())
def test_a_selection_is_nested_has_the_size_asked_for_and_spares_the_best(case):
    scores, n, least = case
    mask = select(scores, n, min_per_layer=least)
    assert len(mask) == n
    assert all(keep.sum() >= min(least, len(keep)) for keep in mask.keep())
    if n:
        assert select(scores, n - 1, min_per_layer=least) <= mask
    for row, keep in zip(scores.values, mask.keep(), strict=True):
        if keep.any() and not keep.all():
            assert row[~keep].max() <= row[keep].max()


def test_too_many_are_refused():
    scores = HeadScores(([1.0, 2.0], [3.0]))
    with pytest.raises(HeadDescriptorError, match="between 0 and 1 of 3 heads can be pruned with 1 kept"):
        select(scores, 2, min_per_layer=1)
    with pytest.raises(HeadDescriptorError, match="between 0 and 3"):
        select(scores, 4)


def test_heads_that_are_gone_count_and_come_first():
    scores = HeadScores(([1.0, 2.0, 3.0], [4.0]))
    gone = HeadMask.parse("1:3", (3, 1))
    assert str(select(scores, 2, gone=gone)) == "1:1,3"
    assert str(select(scores, 2, gone=gone, min_per_layer=1)) == "1:1,3"
    with pytest.raises(HeadDescriptorError, match="between 1 and 2"):
        select(scores, 0, gone=gone, min_per_layer=1)


def test_scores_without_a_place_in_the_order_are_refused():
    with pytest.raises(NotFiniteError, match=r"^scores must be finite to be put in order; that of head 2:1 is not$"):
        select(HeadScores(([1.0, 2.0], [float("nan"), float("inf")])), 1)
    gone = HeadMask.parse("2:1,2", (2, 2))  # of which no score is asked
    assert str(select(HeadScores(([1.0, 2.0], [float("nan"), float("inf")]), gone=gone), 3)) == "1:1 2:1,2"


@st.composite
def grouped(draw):
    """Scores, a partition of the heads into units, and how many may go."""
    scores, n, least = draw(cases())
    heads = [(b, h) for b, n_heads in enumerate(scores.n_heads) for h in range(n_heads)]
    names = draw(st.lists(st.integers(0, 4), min_size=len(heads), max_size=len(heads)))
    units = [frozenset(h for h, of in zip(heads, names, strict=True) if of == name) for name in sorted(set(names))]
    return scores, n, least, units


@given(grouped())
def test_units_go_whole_or_not_at_all(case):
    scores, n, least, units = case
    mask = select(scores, n, min_per_layer=least, units=units)
    assert len(mask) <= n
    assert all(keep.sum() >= min(least, len(keep)) for keep in mask.keep())
    assert all(unit <= mask.pruned or not unit & mask.pruned for unit in units)
    assert mask.with_whole(units) == mask
    if not least and n:
        means = {unit: np.mean([scores.values[b][h] for b, h in sorted(unit)]) for unit in units}
        gone = [means[unit] for unit in units if unit <= mask.pruned]
        assert max(gone, default=-1) <= min((means[u] for u in units if not u <= mask.pruned), default=99)
        assert select(scores, n - 1, units=units) <= mask


@given(cases())
def test_heads_alone_are_units_of_one(case):
    scores, n, least = case
    alone = [frozenset([(b, h)]) for b, n_heads in enumerate(scores.n_heads) for h in range(n_heads)]
    assert select(scores, n, min_per_layer=least, units=alone) == select(scores, n, min_per_layer=least)


@st.composite
def asked(draw):
    """Scores, heads that are gone, and heads that may go."""
    scores, _, _ = draw(cases())
    heads = [(b, h) for b, n_heads in enumerate(scores.n_heads) for h in range(n_heads)]
    some = st.frozensets(st.sampled_from(heads))
    return scores, HeadMask(scores.n_heads, draw(some)), HeadMask(scores.n_heads, draw(some))


@given(asked(), st.integers(1, 12))
def test_a_curve_of_some_heads_leaves_the_others_and_ends_without_any_of_them(case, n_steps):
    scores, gone, among = case
    masks = lowest_first(scores, gone, n_steps, among=among)
    assert [len(mask) for mask in masks] == step_counts(gone, n_steps, among)
    assert masks[0] == gone
    assert masks[-1] == gone | among
    for before, after in itertools.pairwise(masks):
        assert before <= after
        went, left = after - before, among - after
        score = {head: scores.values[head[0]][head[1]] for head in among}
        assert max((score[h] for h in went), default=-1) <= min((score[h] for h in left), default=99)


@given(asked(), st.integers(1, 12))
def test_of_all_heads_it_is_the_curve_of_the_model(case, n_steps):
    scores, gone, _ = case
    every = HeadMask.all(scores.n_heads)
    assert lowest_first(scores, gone, n_steps, among=every) == lowest_first(scores, gone, n_steps)
