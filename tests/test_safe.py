"""A loss is called small too seldom rather than too often: by enumeration, by simulation, and by hand."""

from math import comb, sqrt

import numpy as np
import pytest

from prune_heads.objectives import token_classification
from prune_heads.statistics.margins import score_distance
from prune_heads.statistics.metrics import METRICS, mean_of
from prune_heads.statistics.safe import Loss, design_effect, loss_of, tail, worth_of

LEVEL, N_RESAMPLED = 0.05, 2000
MOST = LEVEL + 2 * sqrt(LEVEL * (1 - LEVEL) / N_RESAMPLED)  # two Monte Carlo errors


def share(gained, lost, n):
    return Loss((lost - gained) / n, sqrt(gained + lost) / n, n, n, (gained, lost))


def accuracy_lost(first, second, truth, groups):
    return loss_of(METRICS["accuracy"], first, second, truth, seed=0, groups=groups, worth=1.0)


@pytest.mark.parametrize(("n", "margin"), [(12, 0.25), pytest.param(25, 0.1, marks=pytest.mark.thorough)])
def test_a_test_of_a_share_is_exact_for_every_share_of_gained_answers(n, margin):
    """Its size by enumeration of all counts, also between the shares that `tail` looks at."""
    counts = [(gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained)]
    shown = [pair for pair in counts if share(*pair, n).p_value(margin) <= LEVEL]
    sizes = []
    for p in np.linspace(0, (1 - margin) / 2, 67):
        chances = (p, p + margin, max(1 - 2 * p - margin, 0))
        of = [comb(n, g) * comb(n - g, k) * np.prod(np.power(chances, (g, k, n - g - k))) for g, k in shown]
        sizes.append(sum(of))
    assert max(sizes) <= LEVEL + 1e-3
    assert max(sizes) > LEVEL / 2  # which also a test that shows nothing would not reach


def critical(n, margin):
    """The least distance that is shown: the p-value falls with the distance."""
    low, high = 1.0, 3.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if tail(middle, n, margin) <= LEVEL else (middle, high)
    return high


def stored(losses, flips, n=2_000, seed=0):
    """`(1 + n_candidates, n)` right answers, without heads first; each candidate loses just this share of all."""
    rng, right = np.random.default_rng(seed), np.ones((1 + len(losses), n))
    right[0, : n // 5] = 0
    for row, loss, flipped in zip(right[1:], losses, flips, strict=True):
        gained = round(n * (flipped - loss) / 2)
        row[: n // 5] = 0
        row[rng.choice(n // 5, gained, replace=False)] = 1
        row[n // 5 + rng.choice(n - n // 5, gained + round(n * loss), replace=False)] = 0
    return right


@pytest.mark.parametrize(
    ("losses", "flips"),
    [
        ((0.01,), (0.01,)),
        ((0.01,), (0.05,)),
        ((0.0, 0.004, 0.01, 0.015), (0.01, 0.02, 0.04, 0.06)),
        ((0.0, 0.01, 0.01, 0.01, 0.01), (0.01, 0.01, 0.014, 0.02, 0.03)),
        ((0.002, 0.012, 0.0, 0.02), (0.01, 0.02, 0.03, 0.05)),  # not monotone
    ],
)
@pytest.mark.parametrize("n", [1500, pytest.param(400, marks=pytest.mark.thorough)])
def test_of_all_fits_at_most_a_share_is_called_safe_that_is_not(losses, flips, n):
    """Where the loss equals the margin, too; the candidates of a fit are tested on the same examples."""
    margin, right = 0.01, stored(losses, flips)
    assert np.allclose(right[0].mean() - right[1:].mean(axis=1), losses)
    change = right[1:] - right[0]
    drawn = np.random.default_rng(n).multinomial(n, np.full(right.shape[1], 1 / right.shape[1]), size=N_RESAMPLED)
    gained, lost = drawn @ (change > 0).T, drawn @ (change < 0).T
    shown = score_distance(gained, lost, n, -margin) >= critical(n, margin)
    safe = np.cumprod(shown, axis=1).astype(bool)
    unsafe = (safe & (np.array(losses) >= margin - 1e-9)).any(axis=1).mean()
    assert unsafe <= MOST
    if losses[0] == 0 and n == 1500:
        assert safe[:, 0].mean() > 0.5


@pytest.mark.thorough
@pytest.mark.parametrize("metric", ["matthews_correlation", "f1"])
@pytest.mark.parametrize("n_flips", [10, 80])
def test_metrics_of_choices_are_called_safe_as_seldom(metric, n_flips):
    """By resampling a population whose loss, of 1% of the examples or so, is the margin; all lose, or most do."""
    measure, rng, n, size = METRICS[metric], np.random.default_rng(1), 2000, 800
    truth = (np.arange(n) % 3 > 0).astype(int)
    first = np.where(rng.random(n) < 0.15, 1 - truth, truth)
    second, right = first.copy(), first == truth
    second[rng.choice(np.flatnonzero(right), n_flips // 2 + 10, replace=False)] ^= 1
    second[rng.choice(np.flatnonzero(~right), n_flips // 2, replace=False)] ^= 1
    margin, worth, n_shown = measure(first, truth) - measure(second, truth), worth_of(measure, first, truth), 0
    for i in range(400):
        at = rng.integers(0, n, size)
        n_shown += (
            loss_of(measure, first[at], second[at], truth[at], seed=i, groups=None, worth=worth).p_value(margin)
            <= LEVEL
        )
    assert n_shown / 400 <= LEVEL + 2 * sqrt(LEVEL * (1 - LEVEL) / 400)


@pytest.mark.thorough
def test_groups_are_called_safe_as_seldom():
    """A group of examples loses or gains as a whole."""
    rng, n_groups, size, n_shown = np.random.default_rng(2), 900, 3, 0
    for _ in range(500):
        of_group = rng.choice([1, -1, 0], n_groups, p=[0.02, 0.04, 0.94])
        second = 1 - np.repeat(of_group == -1, size).astype(int)
        first = 1 - np.repeat(of_group == 1, size).astype(int)
        groups, truth = np.repeat(np.arange(n_groups), size), np.ones(n_groups * size, dtype=int)
        loss = accuracy_lost(first, second, truth, groups)
        n_shown += loss.p_value(0.02) <= LEVEL
    assert n_shown / 500 <= LEVEL + 2 * sqrt(LEVEL * (1 - LEVEL) / 500)


@pytest.mark.parametrize("alike", [0.5, 1.0])  # of the groups that lose: whether as a whole, else each example half
def test_groups_of_which_few_change_are_called_safe_as_seldom(alike):
    """At a loss of the margin often no group changes, or one; that does not tell whether its examples do so alone."""
    rng, n_groups, size, margin, p_values = np.random.default_rng(3), 100, 4, 0.01, {}
    groups, truth, n_shown = np.repeat(np.arange(n_groups), size), np.ones(n_groups * size, dtype=int), 0
    for _ in range(300):
        loses = rng.random(n_groups) < margin / alike
        second = 1 - (loses[:, None] & (rng.random((n_groups, size)) < alike)).ravel().astype(int)
        loss = accuracy_lost(truth, second, truth, groups)
        p_value = p_values.setdefault((loss.n, loss.flips), loss.p_value(margin) if loss.value < margin else 1)
        n_shown += p_value <= LEVEL
    assert n_shown / 300 <= LEVEL + 2 * sqrt(LEVEL * (1 - LEVEL) / 300)


def test_no_change_in_groups_is_that_of_so_many_groups():
    truth = np.ones(400, dtype=int)
    for groups, n in ((np.arange(400) // 4, 100), (np.arange(400), 400), (np.zeros(400, dtype=int), 1), (None, 400)):
        assert accuracy_lost(truth, truth, truth, groups).p_value(0.01) == share(0, 0, n).p_value(0.01) >= 0.99**n
    uneven = np.repeat(np.arange(220), [10] * 20 + [1] * 200)  # an example is in a group of 5.5 on average
    assert accuracy_lost(truth, truth, truth, uneven).n == pytest.approx(400 / 5.5)
    measure, answers = METRICS["f1"], truth[:300]
    twice = loss_of(measure, answers, answers, answers, 0, np.arange(300) // 2, 1.0)
    assert twice.n == 150


def test_the_error_of_scores_is_that_of_a_mean_of_few():
    """Resamples of n numbers vary by (n - 1) / n too little."""
    nats, truth = mean_of("nats", lambda made, _: made), np.ones(6)
    x = np.random.default_rng(0).normal(size=6)
    found = [loss_of(nats, x, np.zeros(6), truth, seed, None, None) for seed in range(40)]
    assert np.mean([each.error for each in found]) == pytest.approx(np.std(x, ddof=1) / sqrt(6), rel=0.01)
    assert (found[0].value, found[0].n) == (pytest.approx(x.mean()), 6)


def test_examples_that_do_not_count_in_a_ratio_show_nothing():
    """Of 1000 sentences 100 have an entity: one that is missed takes a hundredth of their F1."""
    (f1, *_) = token_classification._METRICS
    counts = np.tile([5, 5, 0, 0, 0], (1000, 1))
    counts[:100, 2:] = 1
    assert worth_of(f1, counts, counts) == pytest.approx(10)
    none = loss_of(f1, counts, counts, counts, 0, None, worth_of(f1, counts, counts))
    assert none.p_value(0.01) == pytest.approx(0.99**100, rel=1e-6)
    missed = counts.copy()
    missed[0, 2:4] = 0
    assert f1(counts, counts) - f1(missed, counts) == pytest.approx(1 / 199)  # a true one that nobody says


def test_examples_that_are_there_twice_say_no_more_than_once():
    truth, at = np.ones(300, dtype=int), np.arange(300)
    first, second = (at >= 30).astype(int), ((at >= 21) & (at < 288)).astype(int)  # 9 gained, 12 lost
    once = accuracy_lost(first, second, truth, None)
    twice, groups = [np.repeat(each, 2) for each in (first, second, truth)], np.repeat(at, 2)
    found = accuracy_lost(*twice, groups)
    assert found.n == pytest.approx(once.n, rel=0.01)
    margin = max(0.01, once.value + 1.3 * once.error)
    assert 0.02 < once.p_value(margin) < 0.2
    assert found.p_value(margin) == pytest.approx(once.p_value(margin), rel=0.1)
    change = twice[1] - twice[0]
    assert design_effect(change, groups) == pytest.approx(2, rel=0.01)
    assert design_effect(change, None) == design_effect(np.zeros(4), np.arange(4)) == 1
    assert design_effect(np.array([1.0, 0, 0, 0]), np.zeros(4, dtype=int)) == 4
    assert design_effect(np.zeros(4), np.zeros(4, dtype=int)) == 4, "one group that changes nothing is one answer"


def test_numbers_by_hand():
    assert share(0, 0, 1000).distance(0.01) == pytest.approx(sqrt(1000 * 0.01 / 0.99))
    assert share(25, 25, 1000).examples_needed(0.01, LEVEL) == pytest.approx(3092, abs=5)  # 5% flips and no loss
    assert share(0, 0, 290).p_value(0.01) >= 0.99**290 > LEVEL >= share(0, 0, 320).p_value(0.01)
    scores = Loss(0.0, 0.004, 900, 900, is_choice=False)
    assert scores.p_value(0.01) == pytest.approx(0.00630, abs=1e-4)  # Student's t of 2.5 standard errors
    assert scores.limit(LEVEL) == pytest.approx(1.6465 * 0.004, abs=1e-4)
    nats = Loss(0.5, 3.0, 101, 101, is_choice=False)  # of which more than one may be lost
    assert nats.limit(LEVEL) == pytest.approx(0.5 + 1.6602 * 3, abs=2e-4)


@pytest.mark.parametrize("counts", [(0, 0, 500), (6, 9, 700), (40, 44, 1200)])
def test_the_limit_is_the_least_margin_that_is_shown(counts):
    loss = share(*counts)
    limit = loss.limit(LEVEL)
    assert loss.p_value(limit) <= LEVEL < loss.p_value(limit - 3e-4)
    assert loss.value < limit


@pytest.mark.parametrize("metric", ["f1", "matthews_correlation"])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_the_worth_of_an_answer_is_that_of_the_worst_flip(metric, n_labels):
    measure, rng = METRICS[metric], np.random.default_rng(n_labels)
    truth, answers = rng.integers(0, n_labels, 40), rng.integers(0, n_labels, 40)
    answers = np.where(rng.random(40) < 0.7, truth, answers)
    after = [
        measure(np.where(np.arange(40) == i, label, answers), truth) for i in range(40) for label in range(n_labels)
    ]
    assert worth_of(measure, answers, truth) == pytest.approx(40 * (measure(answers, truth) - min(after)))
    assert worth_of(METRICS["accuracy"], answers, truth) == worth_of(METRICS["pearson"], answers, truth) == 1


def test_a_metric_of_few_flips_is_not_called_safe_for_their_small_spread():
    """No answer of 150 flips: if each is worth a 75th of the metric, a loss of 0.01 often hides there."""
    truth = np.arange(150) % 2
    none = loss_of(METRICS["matthews_correlation"], truth, truth, truth, seed=0, groups=None, worth=2.0)
    assert (none.value, none.error) == (0, 0)
    assert none.p_value(0.01) > 0.3
    assert none.p_value(0.1) < LEVEL
