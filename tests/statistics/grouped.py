"""A t test on groups: an independent computation beside the tests of the package."""

import numpy as np

from prune_heads.statistics.groups import sums_by_group
from prune_heads.statistics.metrics import Array


def group_t(changes: Array, groups: Array | None = None) -> Array:
    """Two-sided p-values that the mean of each column is 0, by a t test on groups, `(n_columns,)`.

    The mean over examples is a ratio of sums over groups; its standard error is the linearised one (the sandwich with
    the correction K / (K - 1)), and it has K - 1 degrees of freedom. Without groups it is the paired t test. The mean
    is asked about, so a heavy tail makes it cautious. 1 where nothing changes.

    Args:
        changes: `(n_examples, n_columns)`: what changes in each example.
        groups: `(n_examples,)` numbers from 0; None: each example is its own.
    """
    from scipy.stats import t  # takes a second

    mean = changes.mean(axis=0)
    off = changes - mean if groups is None else sums_by_group(changes - mean, groups)
    n_groups = len(off)
    error = np.sqrt(n_groups / max(n_groups - 1, 1) * np.sum(off**2, axis=0)) / len(changes)
    distance = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    return np.asarray(2 * t.sf(distance, n_groups - 1) if n_groups > 1 else np.ones_like(mean))
