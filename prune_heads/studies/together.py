"""What is said of all heads of a table together, beside what is said of each on its own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy

from prune_heads.statistics.groups import FEW_FLIPS, FEW_GROUPS
from prune_heads.statistics.joint import Differences, Joint, max_t
from prune_heads.statistics.margins import score_interval
from prune_heads.statistics.ranking import PRIOR, rank_intervals, reliability, shrunk

Cells = Callable[[Sequence[Any]], list[list[Any]]]
Flips = Sequence[Sequence[int]]
"""Of each head: examples that are right with the mask alone, and right without it alone."""


def together(
    differences: Differences, found: Joint, cells: Cells, seed: int, flips: Flips | None, is_share: bool
) -> dict[str, Any] | None:
    """What can be said of the whole table, for records; None of one example, one group or one head.

    Args:
        differences: Of all heads.
        found: The same, resampled.
        cells: Puts a number a head into rows of cells.
        seed: Of the draws.
        flips: Of choices.
        is_share: Whether the metric is a share, so that intervals follow from flips also where few answers change.

    Returns:
        `n_groups`, None where examples are independent; `low`, `high`: 95% intervals that hold for all heads at once;
        `max_t`: p-values adjusted for all heads; `first`, `last`: places that each head may have, 1 the lowest
        difference, which hold at once with 95%; `lower_half`: posterior probability of being in the lower half;
        `shrunk`, `shrunk_error`: empirical-Bayes estimates; `mean`, `spread` of the true differences, and the `prior`
        of them; `split_half`, `reliability` of the order; `smallest_difference` that a test of all heads would find
        with 80% power, None if no head changes anything; `few`: why the intervals are not to be relied on.
    """
    if differences.n_units < 2 or differences.n_heads < 2:
        return None
    low, high = found.simultaneous()
    groups = differences.groups
    if is_share and flips is not None and groups is None:
        inside = min(2 * float(scipy.stats.norm.cdf(found.critical())) - 1, 1 - 1e-12)
        low, high = np.array([score_interval(gained, lost, differences.n_examples, inside) for gained, lost in flips]).T
    first, last = rank_intervals(found)
    estimates = shrunk(found.observed, found.steady_covariance, seed=seed)
    numbers = {"low": low, "high": high, "max_t": max_t(differences, seed=seed), "first": first, "last": last}
    numbers |= {"lower_half": estimates.in_lower_half, "shrunk": estimates.values, "shrunk_error": estimates.errors}
    return {
        "n_groups": None if groups is None else differences.n_units,
        **{name: cells(np.asarray(of).tolist()) for name, of in numbers.items()},
        "mean": estimates.mean,
        "spread": estimates.spread,
        "prior": PRIOR,
        **reliability(differences, seed=seed),
        "smallest_difference": found.smallest_difference() or None,
        "few": _few(differences, flips),
    }


def _few(differences: Differences, flips: Flips | None) -> str | None:
    if differences.n_units < FEW_GROUPS:
        what = "examples" if differences.groups is None else "groups of examples"
        return f"{differences.n_units} {what} are fewer than {FEW_GROUPS}"
    if flips is not None and (n_few := sum(sum(each) < FEW_FLIPS for each in flips)):
        return f"fewer than {FEW_FLIPS} answers change for {n_few} of {len(flips)} heads"
    return None
