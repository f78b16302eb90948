"""Examples that come in groups, such as the pairs of one premise: they are alike, so there is less to learn from them.

Whole groups are what is drawn and summed. With a group for each example all of it is what it was without.
"""

import numpy as np
import scipy

from prune_heads.statistics.metrics import Array

FEW_GROUPS, FEW_FLIPS = 30, 20  # below these an interval of a share by a bootstrap or a normal one is too short


def numbered(names: Array) -> Array:
    """Groups by number from 0, in the order in which they come: `(n_examples,)` of texts or numbers."""
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[group])


def sums_by_group(values: Array, groups: Array) -> Array:
    """`(n_groups,)` or `(n_groups, n_columns)`, of one row an example."""
    sums = np.zeros((int(groups.max()) + 1, *values.shape[1:]))
    np.add.at(sums, groups, values)
    return sums


def n_units(n_examples: int, groups: Array | None) -> int:
    """What is drawn: examples, or the groups that they belong to, by numbers `(n_examples,)` from 0."""
    return n_examples if groups is None else int(groups.max()) + 1


def units(n_examples: int, groups: Array | None) -> Array:
    """`(n_examples,)`: which of them each example belongs to, by numbers from 0."""
    return np.arange(n_examples) if groups is None else groups


def clustered_mcnemar(right: Array, also_right: Array, groups: Array) -> float:
    """Two-sided p-value that two predictions are right equally often, of examples in groups.

    Obuchowski (1998, Statistics in Medicine 17, 1495-1507), as Yang, Sun and Hardin (2010) write it: with K groups and
    the difference d_k of the numbers of right answers in each, (K - 1) / K (sum d)^2 / sum d^2 is chi-square with one
    degree of freedom. Every example counts once, so it is the accuracy that is tested; Durkalski's test (2003) weighs
    groups equally and so tests another quantity. 1 where no answer changes.

    Args:
        right: `(n_examples,)` whether the first prediction is right.
        also_right: The same of the second.
        groups: `(n_examples,)` numbers from 0.
    """
    d = sums_by_group(also_right.astype(np.float64) - right, groups)
    squares = float(np.sum(d**2))
    return float(scipy.stats.chi2.sf((len(d) - 1) / len(d) * d.sum() ** 2 / squares, 1)) if squares else 1.0
