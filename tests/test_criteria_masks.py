"""Criteria by masks, against enumeration, closed forms and brute force; and on models of every shape."""

from copy import deepcopy
from dataclasses import replace
from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
import torch
from tiny import tiny_model
from tiny_criteria import SHAPES, examples_on, hooks
from tiny_types import SIZES
from tiny_types import tiny_model as tiny_type

from prune_heads.errors import NotFiniteError, OptionError
from prune_heads.heads import HeadMask
from prune_heads.importance import CRITERIA
from prune_heads.importance.by_masks import TRUNCATE, lazy_order, least_squares, measuring, walks
from prune_heads.surgery import remove_heads, zero_heads

BY_MASKS = [name for name, row in CRITERIA.items() if row.looks_at == "masks"]


def every_mask(n):
    return np.array([[i >> j & 1 for j in range(n)] for i in range(2**n)], dtype=bool)


class Game:
    """A number for each set of closed heads; counts the masks it is asked for."""

    def __init__(self, values):
        self.values, self.asked = values, 0

    @classmethod
    def drawn(cls, n, seed):
        table = np.random.default_rng(seed).normal(size=2**n)
        return cls(lambda row: table[int(sum(bit << j for j, bit in enumerate(row.tolist())))])

    @classmethod
    def covered(cls, n, seed):
        """How much of a weighted ground set the open heads cover: submodular in them."""
        rng = np.random.default_rng(seed)
        has, weights = rng.random((n, 30)) < 0.15, rng.random(30)
        return cls(lambda row: float(weights[has[~row].any(axis=0)].sum()))

    def __call__(self, closed):
        self.asked += len(closed)
        return np.array([self.values(row) for row in closed])


def test_slopes_of_a_linear_response_are_exact():
    rng = np.random.default_rng(0)
    opened, effects = rng.random((40, 6)) < 0.6, rng.normal(size=6)
    slopes, errors = least_squares(opened, 3 + opened @ effects)
    assert np.allclose(slopes, effects, atol=1e-12)
    assert np.allclose(errors, 0, atol=1e-12)


def test_over_all_masks_a_slope_is_the_mean_with_the_head_less_the_mean_without():
    opened = every_mask(5)
    values = Game.drawn(5, 1)(~opened)
    slopes, _ = least_squares(opened, values)
    assert np.allclose(slopes, [values[on].mean() - values[~on].mean() for on in opened.T])


def test_errors_are_those_of_least_squares_with_an_intercept():
    rng = np.random.default_rng(2)
    opened, values = rng.random((30, 4)) < 0.7, rng.normal(size=30)
    design = np.column_stack([np.ones(30), opened])
    inverse = np.linalg.inv(design.T @ design)
    fitted = inverse @ design.T @ values
    variance = np.sum((values - design @ fitted) ** 2) / (30 - 5)
    slopes, errors = least_squares(opened, values)
    assert np.allclose(slopes, fitted[1:])
    assert np.allclose(errors, np.sqrt(variance * np.diag(inverse)[1:]))


def test_of_too_few_masks_the_slopes_are_of_least_norm_and_have_no_error():
    rng = np.random.default_rng(3)
    opened, values = rng.random((5, 9)) < 0.5, rng.normal(size=5)
    slopes, errors = least_squares(opened, values)
    x, y = opened - opened.mean(axis=0), values - values.mean()
    ridge = np.linalg.solve(x.T @ x + 1e-9 * np.eye(9), x.T @ y)
    assert np.allclose(slopes, ridge, atol=1e-5)
    assert errors is None
    never = np.column_stack([opened[:, :2].repeat(4, axis=0), np.ones(20, dtype=bool)])
    assert least_squares(never, rng.normal(size=20))[1] is None


def shapley_of(game, n):
    """By definition: the weighted mean over all sets of the others."""
    values = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for some in combinations(others, size):
                closed = np.ones((2, n), dtype=bool)
                closed[:, list(some)] = closed[1, i] = False
                without, with_ = game(closed)
                values[i] += factorial(size) * factorial(n - size - 1) / factorial(n) * (with_ - without)
    return values


def test_the_mean_of_all_orders_is_the_shapley_value():
    game, orders = Game.drawn(4, 4), np.array(list(permutations(range(4))))
    given, n_masks = walks(orders, game)
    assert np.allclose(given.mean(axis=0), shapley_of(game, 4))
    whole, none = game(np.array([[False] * 4, [True] * 4]))
    assert np.allclose(given.sum(axis=1), whole - none)
    assert n_masks == 24 * 3


def test_a_walk_ends_where_nothing_is_left():
    """Of forty heads the first two to be closed take nearly all."""

    def left(row):
        return float(100 * max(0.0, 1 - row.sum() / 2) + 1e-3 * (~row).sum())

    orders = np.array([np.random.default_rng(seed).permutation(40) for seed in range(6)])
    given, n_masks = walks(orders, Game(left))
    assert n_masks < 6 * 20
    for order, each in zip(orders, given, strict=True):
        assert each[order[:2]].sum() == pytest.approx(100.002)
        assert not each[order[-20:]].any()
    whole, none = left(np.zeros(40, dtype=bool)), left(np.ones(40, dtype=bool))
    assert np.all(np.abs(given.sum(axis=1) - (whole - none)) <= TRUNCATE * (whole - none))
    assert np.any(given.sum(axis=1) != whole - none)


def greedy_of(game, n):
    """By brute force: each head that is left is measured at each step."""
    closed, order = np.zeros(n, dtype=bool), []
    while len(order) < n:
        rest = np.flatnonzero(~closed)
        best = rest[np.argmax(game(closed | np.eye(n, dtype=bool)[rest]))]
        closed[best] = True
        order.append(int(best))
    return order


@pytest.mark.parametrize("seed", range(5))
def test_lazy_removal_is_greedy_removal_where_losses_grow(seed):
    lazy, plain = Game.covered(30, seed), Game.covered(30, seed)
    order, n_known = lazy_order(30, lazy, 10_000)
    truth = greedy_of(plain, 30)
    # Heads that cover nothing of their own are alike: what is left after each step is compared, not who went.
    for found, wanted in ((order[:k], truth[:k]) for k in range(31)):
        left = [plain.values(np.isin(np.arange(30), each)) for each in (found, wanted)]
        assert left[0] == pytest.approx(left[1])
    assert (sorted(order), n_known) == (list(range(30)), 30)
    assert lazy.asked < 0.6 * plain.asked


@pytest.mark.parametrize("seed", range(5))
def test_lazy_removal_never_takes_more_masks(seed):
    lazy, plain = Game.drawn(9, seed), Game.drawn(9, seed)
    order, _ = lazy_order(9, lazy, 10_000)
    greedy_of(plain, 9)
    assert sorted(order) == list(range(9))
    assert lazy.asked <= plain.asked + 1  # and the response of all heads


def test_when_masks_are_spent_the_rest_goes_by_what_is_known():
    game = Game.covered(20, 0)
    order, n_known = lazy_order(20, game, 25)
    assert game.asked == 25
    assert 0 < n_known < 20
    assert sorted(order) == list(range(20))
    alone = Game.covered(20, 0)
    assert order == lazy_order(20, alone, 25)[0]


@pytest.fixture(scope="module")
def four():
    """A model of one layer with four heads, its examples, and the truth: heads zeroed one set at a time."""
    model = tiny_type("bert", sizes={**SIZES, "layers": 1}, num_labels=2)
    examples = examples_on(model, n=8)
    batch = examples.batches.batch(np.arange(8))
    truth = {}
    for closed in every_mask(4):
        mask = HeadMask((4,), frozenset((0, i) for i in np.flatnonzero(closed)))
        with torch.no_grad():
            logits = zero_heads(deepcopy(model), mask)(**batch.inputs).logits.double()
        truth[closed.tobytes()] = float(logits.log_softmax(-1)[torch.arange(8), batch.targets].mean())
    return model, examples, Game(lambda row: truth[row.tobytes()])


def test_responses_are_those_of_heads_that_are_zeroed(four):
    _, examples, truth = four
    reporter = examples.predictions.reporter
    with measuring(examples) as respond:
        assert np.allclose(respond(every_mask(4)), truth(every_mask(4)), atol=1e-6)
    assert examples.predictions.reporter is reporter


def test_shapley_values_of_a_model_are_those_of_enumeration(four):
    model, _, truth = four
    scores = CRITERIA["shapley"].score(examples_on(model, n=8, masks=400))
    exact, (errors,) = shapley_of(truth, 4), scores.standard_error
    assert np.all(np.abs(scores.flat() - exact) <= 5 * errors + 1e-6)
    assert np.all(errors < np.abs(exact).max())
    assert scores.flat().sum() == pytest.approx(np.subtract(*truth(np.array([[False] * 4, [True] * 4]))), abs=1e-5)


def test_regression_and_greedy_of_a_model_are_those_of_its_responses(four):
    model, _, truth = four
    examples = examples_on(model, n=8, masks=200, seed=3)
    closed = np.random.default_rng(3).random((200, 4)) < 0.25
    design = np.column_stack([np.ones(200), ~closed])
    expected = np.linalg.lstsq(design, truth(closed), rcond=None)[0][1:]
    assert np.allclose(CRITERIA["regression"].score(examples).flat(), expected, atol=1e-5)
    assert sum(forward for forward, _ in examples.spent.values()) == len(np.unique(closed, axis=0))
    steps = CRITERIA["greedy"].score(examples).flat()
    assert np.argsort(steps).tolist() == greedy_of(truth, 4)
    assert sorted(steps) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", BY_MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_model_is_scored(name, shape):
    model = SHAPES[shape]()
    examples = examples_on(model, n=4)
    examples = replace(examples, masks=2 * len(examples.there) + 2)
    scores = CRITERIA[name].score(examples)
    there = np.concatenate(scores.gone.keep())
    assert scores.gone == examples.gone
    assert np.isfinite(scores.flat()).all()
    assert not scores.flat()[~there].any()
    if shape != "translator":  # of an untrained one all texts are as wrong
        assert len(np.unique(scores.flat()[there])) == there.sum()
    assert hooks(model) == 0


@pytest.mark.parametrize("name", BY_MASKS)
def test_masked_heads_count_as_gone_and_batches_do_not_matter(name):
    model, masked = tiny_model(n_labels=2), HeadMask.parse("2:1,2,3,4 3:1", (4, 4, 4))
    smaller = remove_heads(deepcopy(model), masked)
    got = CRITERIA[name].score(examples_on(model, masks=80, masked=masked))
    expected = CRITERIA[name].score(examples_on(smaller, masks=80, batch_size=5))
    assert got.gone == expected.gone == masked
    assert np.allclose(got.flat(), expected.flat(), rtol=1e-3, atol=1e-5)


def test_too_few_masks_are_refused_and_spent_ones_are_noted():
    model = tiny_model(n_labels=2)
    with pytest.raises(OptionError, match="--masks must be at least 24 for Shapley values of 12 heads; got 23"):
        CRITERIA["shapley"].score(examples_on(model, masks=23))
    with pytest.raises(OptionError, match="--masks must be at least 13 for greedy removal of 12 heads; got 12"):
        CRITERIA["greedy"].score(examples_on(model, masks=12))
    examples = examples_on(model, masks=14)
    assert sorted(CRITERIA["greedy"].score(examples).flat()) == list(range(1, 13))
    (note,) = examples.predictions.reporter.notes
    assert note.startswith("greedy: 14 masks were spent when")


@pytest.mark.parametrize("name", BY_MASKS)
def test_nan_is_refused(name):
    model = tiny_model(n_labels=2)
    with torch.no_grad():
        model.bert.encoder.layer[1].attention.self.query.weight[0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match="must be finite"):
        CRITERIA[name].score(examples_on(model, masks=60))


def test_the_seed_draws_other_masks_and_the_store_keeps_them(tmp_path):
    model = tiny_model(n_labels=2)
    first, second = (CRITERIA["regression"].score(examples_on(model, masks=40, seed=seed)).flat() for seed in (0, 1))
    assert not np.array_equal(first, second)
    of_store = [CRITERIA["shapley"].score(examples_on(model, masks=30, store=tmp_path)) for _ in range(2)]
    assert of_store[0].flat().tobytes() == of_store[1].flat().tobytes()
