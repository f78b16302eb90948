"""Scores from what many masks do together: regression on random masks, Shapley values, and greedy removal.

Each takes the mean response of the scoring examples (`Objective.response`, higher is better) as a function of the heads
that are closed. Masks go through the store, so that a killed criterion goes on where it was.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import OptionError
from prune_heads.heads import HeadScores
from prune_heads.importance.criteria import Examples
from prune_heads.importance.gradient import standard_error
from prune_heads.progress import one_stage

CLOSED = 0.25  # of the heads, by each mask of `regression`
TOGETHER = 8  # heads of a walk, and candidates of `greedy`, that are measured in one pass
TRUNCATE = 0.01  # of what all heads give: a walk that stays so near to the response of no head ends

_Rows = NDArray[np.bool_]  # `(n_masks, n_heads)`: heads that are closed
_Values = NDArray[np.float64]
Respond = Callable[[_Rows], _Values]  # `(n_masks,)`: the mean response of each mask


@contextmanager
def measuring(examples: Examples) -> Iterator[Respond]:
    """Gives the mean response under masks of the heads that are there; each is measured once, all in one stage."""
    predictions, known = examples.predictions, dict[bytes, float]()

    def respond(closed: _Rows) -> _Values:
        new = {row.tobytes(): row for row in closed if row.tobytes() not in known}
        if new:
            found = examples.responses(examples.masks_of(np.stack(list(new.values())))).mean(axis=0)
            known.update(zip(new, found.tolist(), strict=True))
        return np.array([known[row.tobytes()] for row in closed])

    total = examples.masks * predictions.batches.n_examples
    with predictions.unchanged(), one_stage(predictions, "masks", total):
        yield respond


def regression(examples: Examples) -> HeadScores:
    """Coefficients of a least-squares fit of the mean response on the heads that are open, over random masks.

    Each mask closes each head with probability `CLOSED`. Shah, Ilyas and Madry (2024) fit examples one by one and close
    2.5% of the parts of GPT-2, in its tens of thousands; of a few hundred heads that is next to nothing.

    The standard error is that of the fit: it is of other masks for the same examples, not of other examples.

    An `UnfitError` where the response is not defined.
    """
    n = len(examples.there)
    closed = np.random.default_rng(examples.seed).random((examples.masks, n)) < CLOSED
    with measuring(examples) as respond:
        values = respond(closed)
    slopes, errors = least_squares(~closed, values)
    return HeadScores.of_the_rest(slopes, examples.gone, errors)


def least_squares(opened: _Rows, values: _Values) -> tuple[_Values, _Values | None]:
    """The slope of each column with its standard error, beside an intercept.

    Of masks that do not tell all heads apart, for they are too few, the slopes of least norm (the limit of ridge
    regression as its penalty goes to 0); they have no standard error.
    """
    x = opened - opened.mean(axis=0)
    y = values - values.mean()
    slopes = np.linalg.pinv(x) @ y
    free = len(x) - x.shape[1] - 1
    if free < 1 or np.linalg.matrix_rank(x) < x.shape[1]:
        return slopes, None
    variance = np.square(y - x @ slopes).sum() / free
    return slopes, np.sqrt(variance * np.diag(np.linalg.inv(x.T @ x)))


def shapley(examples: Examples) -> HeadScores:
    """Shapley values of the mean response: what a head gives when it is opened, on the mean over all orders of heads.

    Orders are drawn at random, each with its reverse, whose errors cancel in part. A walk closes the heads of an order
    one by one. It ends early where `TOGETHER` heads in a row leave the response within `TRUNCATE` of that of no head,
    in units of what all heads give; the heads that it has not reached get 0 of it. Without that the scores sum exactly
    to the response of all heads less that of no head. The standard error is over the pairs of orders.

    Held and Yang (2023) truncate walks too, and stop early for heads whose value is known well enough; here all heads
    get the same number of orders.

    Raises:
        OptionError: If the masks do not suffice for one order and its reverse.
        UnfitError: If the response is not defined.
    """
    n, rng, found = len(examples.there), np.random.default_rng(examples.seed), list[_Values]()
    least = 2 * n  # all heads, no head, and the inner masks of one pair
    if examples.masks < least:
        raise OptionError(f"--masks must be at least {least} for Shapley values of {n} heads; got {examples.masks}")
    with measuring(examples) as respond:
        left = examples.masks - 2
        while n > 1 and (n_pairs := left // (least - 2)):
            orders = np.stack([rng.permutation(n) for _ in range(n_pairs)])
            given, n_masks = walks(np.concatenate([orders, orders[:, ::-1]]), respond)
            found += list((given[:n_pairs] + given[n_pairs:]) / 2)
            left -= n_masks
        if n == 1:
            found = [walks(np.zeros((1, 1), dtype=int), respond)[0][0]]
    values = np.reshape(found, (len(found), n))
    return HeadScores.of_the_rest(values.mean(axis=0) if n else [], examples.gone, standard_error(values))


def walks(orders: NDArray[np.int_], respond: Respond) -> tuple[_Values, int]:
    """What each head gives in each order, `(n_orders, n_heads)`, and how many masks that took beside two."""
    n_orders, n = orders.shape
    places = np.argsort(orders, axis=1)
    whole, none = respond(np.array([[False] * n, [True] * n]))
    after = np.full((n_orders, n), none)  # the response when the heads up to each place are closed
    walking, n_masks = np.ones(n_orders, dtype=bool), 0
    for start in range(0, n - 1, TOGETHER):
        steps = np.arange(start, min(start + TOGETHER, n - 1))
        closed = (places[walking, None, :] <= steps[:, None]).reshape(-1, n)
        after[np.ix_(walking, steps)] = respond(closed).reshape(-1, len(steps))
        n_masks += len(closed)
        ends = (np.abs(after[:, steps] - none) <= TRUNCATE * abs(whole - none)).all(axis=1) & (len(steps) == TOGETHER)
        after[walking & ends, steps[-1] + 1 :] = after[walking & ends, steps[-1], None]
        walking &= ~ends
        if not walking.any():
            break
    before = np.concatenate([np.full((n_orders, 1), whole), after[:, :-1]], axis=1)
    return np.take_along_axis(before - after, places, axis=1), n_masks


def greedy(examples: Examples) -> HeadScores:
    """The step at which a head goes, from 1, where each time the head goes without which the response is highest.

    A `note` says when the masks are spent before the order is known.

    Raises:
        OptionError: If the masks do not suffice to close each head once.
        UnfitError: If the response is not defined.
    """
    n, masks = len(examples.there), examples.masks
    if masks <= n:
        raise OptionError(f"--masks must be at least {n + 1} for greedy removal of {n} heads; got {masks}")
    with measuring(examples) as respond:
        order, n_known = lazy_order(n, respond, masks)
    if n_known < n:
        spent = f"{masks} masks were spent when {n_known} of {n} heads had gone"
        examples.predictions.reporter.note(f"greedy: {spent}; the others go by what they gave when last measured")
    return HeadScores.of_the_rest(np.argsort(order) + 1.0, examples.gone)


def lazy_order(n: int, respond: Respond, masks: int) -> tuple[list[int], int]:
    """The order in which heads go, and how many went by a loss that was measured with all before them closed.

    A head's loss is what closing it takes away, with those that have gone closed. Losses of earlier steps are kept
    (Minoux, 1978): only heads whose last known loss is lowest are measured again, `TOGETHER` at a time, until the
    lowest of all is of now. Where losses only grow while others go, as of a submodular response, this is the order of
    greedy removal; never does it take more masks.
    """
    closed, order, n_known = np.zeros(n, dtype=bool), list[int](), 0
    (base,), left = respond(closed[None]), masks - 1
    losses = np.zeros(n)
    for step in range(n):
        fresh, rest = np.zeros(n, dtype=bool), np.flatnonzero(~closed)
        if len(rest) == 1:
            fresh[rest] = True  # whatever it gives
        while not fresh[best := rest[np.argmin(losses[rest])]] and left:
            stale = rest[~fresh[rest]]
            asked = stale[np.argsort(losses[stale], kind="stable")][: min(left, TOGETHER if step else n)]
            losses[asked] = base - respond(closed | np.eye(n, dtype=bool)[asked])
            fresh[asked], left = True, left - len(asked)
        n_known += bool(fresh[best])
        base -= losses[best]
        closed[best] = True
        order.append(int(best))
    return order, n_known
