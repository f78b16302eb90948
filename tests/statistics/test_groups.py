"""Tests of examples in groups: published data, statsmodels as oracle, and what they are without groups."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from prune_heads.statistics.groups import clustered_mcnemar, numbered, sums_by_group
from tests.statistics.grouped import group_t

# 29 psychiatrists and their 135 patients (Petryshen, in Eliasziw and Donner, 1991, table II): how many patients of each
# named an item as relevant that the psychiatrist did not, the other way round, and how many there were.
PATIENT = [0, 1, 1, 1, 0, 3, 3, 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0]
PSYCHIATRIST = [4, 2, 3, 2, 1, 3, 0, 2, 2, 4, 2, 4, 3, 2, 1, 3, 1, 2, 0, 0, 0, 2, 1, 2, 2, 0, 0, 1, 1]
PATIENTS = [7, 6, 7, 6, 4, 6, 5, 8, 4, 7, 3, 6, 7, 6, 5, 4, 6, 5, 4, 3, 5, 4, 4, 2, 3, 2, 2, 3, 1]


def psychiatry():
    """What each side says of each patient, and whose patient that is."""
    rows = zip(PATIENT, PSYCHIATRIST, PATIENTS, strict=True)
    said = [[(1, 0)] * b + [(0, 1)] * c + [(1, 1)] * (n - b - c) for b, c, n in rows]
    return *np.array([pair for group in said for pair in group]).T, np.repeat(np.arange(29), PATIENTS)


def test_published_data():
    """McNemar's statistic is the published 11.85; Obuchowski's, as the R package clust.bin.pair gives it, is 7.19."""
    patient, psychiatrist, groups = psychiatry()
    b, c = sum(PATIENT), sum(PSYCHIATRIST)
    assert (b - c) ** 2 / (b + c) == pytest.approx(11.85, abs=0.005)
    statistic = scipy.stats.chi2.isf(clustered_mcnemar(patient, psychiatrist, groups), 1)
    assert statistic == pytest.approx(7.19, abs=0.005)


def test_each_alone_is_mcnemar():
    """Without groups it is the chi-square of McNemar, less the correction for the number of examples."""
    patient, psychiatrist, _ = psychiatry()
    alone = clustered_mcnemar(patient, psychiatrist, np.arange(135))
    assert scipy.stats.chi2.isf(alone, 1) == pytest.approx(134 / 135 * 11.845070, rel=1e-6)


def test_nothing_changes():
    assert clustered_mcnemar(np.ones(4), np.ones(4), np.array([0, 0, 1, 1])) == 1
    assert group_t(np.zeros((4, 2)), np.array([0, 0, 1, 1])).tolist() == [1, 1]


@pytest.mark.slow
def test_group_t_is_the_sandwich_of_statsmodels():
    """A regression on a constant with errors clustered by group, with the same degrees of freedom."""
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    changes = 0.2 + rng.normal(size=40)[groups] + rng.standard_t(4, len(groups))
    fitted = sm.OLS(changes, np.ones(len(changes))).fit()
    clustered = fitted.get_robustcov_results("cluster", groups=groups, use_correction=False)
    error = clustered.bse[0] * np.sqrt(40 / 39)
    expected = 2 * scipy.stats.t.sf(abs(changes.mean()) / error, 39)
    assert group_t(changes[:, None], groups)[0] == pytest.approx(expected, rel=1e-9)


def test_without_groups_it_is_the_paired_t_test():
    changes = np.random.default_rng(1).normal(0.1, 1, (50, 3))
    assert group_t(changes) == pytest.approx(scipy.stats.ttest_1samp(changes, 0).pvalue, rel=1e-9)
    assert group_t(changes, np.arange(50)) == pytest.approx(group_t(changes), rel=1e-12)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=20))
def test_groups_are_numbered_as_they_come(names):
    found = numbered(np.array(names))
    assert list(dict.fromkeys(found.tolist())) == list(range(len(set(names))))
    assert all((found[i] == found[j]) == (names[i] == names[j]) for i in range(len(names)) for j in range(len(names)))
    assert sums_by_group(np.ones(len(names)), found).tolist() == [names.count(name) for name in dict.fromkeys(names)]
