"""The area under a pruning curve."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.statistics import area_under_curve


def test_by_hand():
    """Two trapezoids: 0.5 * (1 + 0.8) / 2 + 0.5 * (0.8 + 0.2) / 2."""
    assert area_under_curve([0, 0.5, 1], [1.0, 0.8, 0.2]) == pytest.approx(0.7)


def test_uneven_steps_count_by_their_width():
    assert area_under_curve([0, 0.1, 1], [1.0, 0.0, 0.0]) == pytest.approx(0.05)


def test_a_curve_that_ends_early_is_its_mean_up_to_there():
    assert area_under_curve([0, 0.25, 0.5], [0.9, 0.8, 0.7]) == pytest.approx(0.8)
    assert area_under_curve([0.0], [0.9]) == 0.9


def test_heads_count_and_not_the_percent_that_was_asked_for():
    """10% of 24 heads are 2 of them: trapezoids of 2 and 22 heads, not of 10% and 90%."""
    assert area_under_curve([0, 2, 24], [1.0, 0.8, 0.2]) == pytest.approx((2 * 0.9 + 22 * 0.5) / 24)


def test_where_a_curve_starts_and_in_which_unit_changes_nothing():
    assert area_under_curve([3, 5, 27], [1.0, 0.8, 0.2]) == area_under_curve([0, 2, 24], [1.0, 0.8, 0.2])
    assert area_under_curve([0, 50, 100], [1, 0.5, 0]) == area_under_curve([0, 0.5, 1], [1, 0.5, 0])


def test_a_share_that_comes_twice_counts_once():
    assert area_under_curve([0, 0, 0.5, 0.5, 1], [1, 1, 0.8, 0.8, 0.2]) == pytest.approx(0.7)
    assert area_under_curve([3, 3, 3], [0.9, 0.9, 0.9]) == 0.9


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_lies_between_the_lowest_and_the_highest_value(values):
    area = area_under_curve(np.linspace(0, 1, len(values)), values)
    assert min(values) - 1e-12 <= area <= max(values) + 1e-12


@pytest.mark.parametrize(
    ("fractions", "values", "message"),
    [
        ([0, 1], [1], "as many"),
        ([], [], "as many"),
        ([0, 0.5, 0.4], [1, 1, 1], "increase"),
        ([0, 0.5, 0.5], [1, 1, 0], "one value"),
        ([-1, np.nan, 3], [1, 1, 1], "increase"),
        ([0, np.nan], [1, 1], "increase"),
        ([0, 1], [1, np.nan], "finite"),
    ],
)
def test_what_is_no_curve(fractions, values, message):
    with pytest.raises(ValueError, match=message):
        area_under_curve(fractions, values)
