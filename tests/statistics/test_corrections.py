"""Holm and Benjamini-Hochberg: worked examples, properties, and what was not tested."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.statistics import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.5, 1.0]), min_size=1, max_size=30)

BH_1995 = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
BH_1995 += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
"""The 15 p-values of Benjamini and Hochberg (1995), section 3.1: at 0.05 their procedure rejects four."""


def test_holm_by_hand():
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1 raised to the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_benjamini_and_hochberg_in_their_own_example():
    adjusted = benjamini_hochberg(BH_1995)
    # 15/1, 15/2, 15/3, 15/4 and 15/5 times the first five; the sixth takes 15/7 times the seventh.
    assert adjusted[:6] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625, 0.0603, 0.0298 * 15 / 7])
    assert (adjusted <= 0.05).sum() == 4
    assert (holm(BH_1995) <= 0.05).sum() == 3


@given(P_VALUES, st.randoms())
def test_properties(p_values, random):
    p = np.array(p_values)
    for adjust in (holm, benjamini_hochberg):
        adjusted, order = adjust(p), np.argsort(p)
        assert ((adjusted >= p - 1e-15) & (adjusted <= 1)).all()
        assert (np.diff(adjusted[order]) >= 0).all()
        shuffled = np.array(random.sample(range(len(p)), len(p)))
        assert np.allclose(adjust(p[shuffled]), adjusted[shuffled], rtol=1e-12)
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
    assert (holm(p) <= np.minimum(p * len(p), 1) + 1e-12).all()


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_what_was_not_tested_stays_so_and_does_not_count(adjust):
    table = [[0.01, None, 0.04], [np.nan, 0.03, 0.005]]
    adjusted = adjust(table)
    assert np.isnan(adjusted).tolist() == [[False, True, False], [True, False, False]]
    assert adjusted[~np.isnan(adjusted)] == pytest.approx(adjust([0.01, 0.04, 0.03, 0.005]))
    assert np.isnan(adjust([np.nan, np.nan])).all()
    assert adjust([]).shape == (0,)
    assert adjust([0.2]) == [0.2]


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_the_argument_stays_as_it_was(adjust):
    p = np.array([0.01, 0.02])
    adjust(p)
    assert p.tolist() == [0.01, 0.02]


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.inf])
def test_what_is_no_p_value(adjust, wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        adjust([0.5, wrong])


def test_holm_errs_rarely_under_the_hypothesis():
    """Of 500 families of 72 heads that change nothing, about 5 % have any head below 0.05."""
    p = np.random.default_rng(0).random((500, 72))
    assert np.mean([holm(family).min() < 0.05 for family in p]) == pytest.approx(0.05, abs=0.025)
