"""Metrics of weighted examples against the same metrics of repeated examples, and resamples against SciPy's."""

import numpy as np
import pytest
import scipy.stats
from counts import drawn_counts
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_heads.statistics import METRICS
from prune_heads.statistics import differences as resampling_module
from prune_heads.statistics.differences import joint_counts, resampled_values

NAMES = sorted(METRICS)


def examples(name, rng, n, n_labels=3, decimals=1):
    """First and second prediction and truth; some scores are equal."""
    if name in ("pearson", "spearmanr"):
        truth = rng.normal(size=n)
        return tuple(v.round(decimals) for v in (truth + rng.normal(size=n), truth + rng.normal(size=n), truth))
    if name in ("log_likelihood", "perplexity"):
        n_tokens = rng.integers(1, 30, n)
        return *(n_tokens * rng.normal(-2, 0.5, size=n) for _ in range(2)), n_tokens
    if name == "bleu":
        return drawn_counts(rng, n), drawn_counts(rng, n), rng.integers(1, 13, n)
    return tuple(rng.integers(0, n_labels, n) for _ in range(3))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(NAMES), st.integers(1, 25), st.integers(1, 4), st.integers(0, 2), st.integers(0, 9999))
def test_a_weight_is_a_number_of_copies(name, n, n_labels, decimals, seed):
    rng = np.random.default_rng(seed)
    predictions, _, references = examples(name, rng, n, n_labels, decimals)
    weights = rng.multinomial(n, rng.dirichlet(np.full(n, 0.3)), size=6)
    got = METRICS[name].weighted(predictions, references, weights.astype(float))
    expected = [METRICS[name](predictions.repeat(row, axis=0), references.repeat(row)) for row in weights]
    assert np.allclose(got, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["matthews_correlation", "pearson", "spearmanr"])
def test_resamples_of_equal_examples_have_no_correlation(name):
    """Their variance is rounding, of either sign: 0 must come, and no ratio of two such numbers."""
    predictions, _, references = (each.repeat(4) for each in examples(name, np.random.default_rng(0), 50, decimals=9))
    weights = np.kron(np.eye(50), [47.0, 82.0, 31.0, 40.0])
    assert METRICS[name].weighted(predictions, references, weights).tolist() == [0.0] * 50


def test_cells_hold_every_example_once():
    columns = [np.array(column) for column in ([0, 2, 0, 0], [1, 1, 1, 0], [0, 0, 0, 3])]
    cells, counts = joint_counts(columns)
    assert (cells[:, 0].tolist(), int(counts[0])) == ([0, 1, 0], 2)
    assert sorted(map(tuple, cells.repeat(counts, axis=1).T.tolist())) == sorted(
        zip(*(column.tolist() for column in columns), strict=True)
    )


def test_cells_of_more_columns_than_a_whole_number_holds_are_in_the_same_order():
    columns = [*np.random.default_rng(0).integers(0, 2, size=(4, 90))]
    few, counts = joint_counts(columns)
    many, same_counts = joint_counts(columns * 20)
    assert np.array_equal(many, np.tile(few, (20, 1)))
    assert same_counts.tolist() == counts.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_resamples_are_distributed_as_those_of_scipy(name):
    """Quantiles of the difference of two predictions, in standard deviations of that difference."""
    first, second, truth = examples(name, np.random.default_rng(2), 120)
    value = METRICS[name].weighted

    def difference(drawn, axis=-1):
        rows = np.arange(len(np.atleast_2d(drawn)))[:, None] * 120
        weights = np.bincount((np.atleast_2d(drawn) + rows).ravel(), minlength=rows.size * 120).reshape(-1, 120)
        return value(second, truth, weights * 1.0) - value(first, truth, weights * 1.0)

    slow = scipy.stats.bootstrap(
        (np.arange(120),), difference, vectorized=True, axis=-1, n_resamples=6000, rng=np.random.default_rng(3)
    ).bootstrap_distribution
    before, after = resampled_values(METRICS[name], (first, second), truth, seed=4, n_resamples=20_000)
    fast = after - before
    where = [0.025, 0.16, 0.5, 0.84, 0.975]
    gap = (np.quantile(fast, where) - np.quantile(slow, where)) / slow.std()
    assert np.abs(gap).max() < 0.12
    assert fast.std() == pytest.approx(slow.std(), rel=0.04)


@pytest.mark.parametrize("name", NAMES)
def test_every_resample_is_made_whatever_fits_into_memory(name, monkeypatch):
    first, second, truth = examples(name, np.random.default_rng(0), 30)
    at_once = resampled_values(METRICS[name], (first, second), truth, seed=0, n_resamples=50)
    monkeypatch.setattr(resampling_module, "CHUNK", 1)
    one_by_one = resampled_values(METRICS[name], (first, second), truth, seed=0, n_resamples=50)
    assert at_once.shape == (2, 50)
    assert np.allclose(at_once, one_by_one, rtol=0, atol=1e-12)


def test_paired_predictions_meet_the_same_resamples():
    """Equal predictions stay equal; those that are always wrong where the others are right mirror them."""
    truth = np.random.default_rng(0).integers(0, 2, 40)
    predictions = np.random.default_rng(1).integers(0, 2, 40)
    a, b, mirror = resampled_values(
        METRICS["accuracy"], (predictions, predictions, 1 - predictions), truth, seed=0, n_resamples=200
    )
    assert np.array_equal(a, b)
    assert np.allclose(a + mirror, 1)
