"""The empirical Fisher information of the gates with its off-diagonals, and masks searched by it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prune_heads.heads import HeadScores
from prune_heads.importance.criteria import Examples

_Matrix = NDArray[np.float64]


def fisher_search(examples: Examples) -> HeadScores:
    """The share of numbers of pruned heads, 0 to N - 1, for which the mask search of Kwon et al. (2022) keeps a head.

    To close the gates of a set S costs about (sum over a, b in S of F_ab) / 2, F = E g g^T, g the derivatives of an
    example's own loss (section 4). For each number, the heads of the lowest F_hh are pruned; then each layer rearranges
    its own by F (`rearranged`). Their limits on multiply-adds are a number of heads here, for all cost the same. Masks
    that are nested give the ranks of the heads, from 1/N to 1. There is no standard error.
    """
    signed = examples.gradients.signed[:, examples.columns].astype(np.float64)
    fisher = signed.T @ signed / len(signed)
    blocks = np.array([block for block, _ in examples.there])
    lowest, n_kept = np.argsort(np.diag(fisher), kind="stable"), np.zeros(len(blocks))
    found = dict[tuple[int, int], NDArray[np.bool_]]()  # a layer and how many of its heads go -> which of them stay
    for n_pruned in range(len(blocks)):
        counts = np.bincount(blocks[lowest[:n_pruned]], minlength=len(examples.gone.n_heads))
        for block in np.unique(blocks):
            own, key = np.flatnonzero(blocks == block), (int(block), int(counts[block]))
            if key not in found:
                found[key] = np.isin(np.arange(len(own)), rearranged(fisher[np.ix_(own, own)], key[1]), invert=True)
            n_kept[own] += found[key]
    return HeadScores.of_the_rest(n_kept / max(1, len(blocks)), examples.gone)


def rearranged(fisher: _Matrix, n: int) -> Sequence[int]:
    """Which `n` heads of a layer to prune by its `(heads, heads)` part of F: greedily, so not always the best.

    From the heads of the lowest diagonal on, each other head in that order is taken in, and the one without which the
    sum over the set is lowest leaves it.
    """
    order = np.argsort(np.diag(fisher), kind="stable").tolist()
    pruned = order[:n]
    for head in order[n:] if n else ():
        pruned.append(head)
        part = fisher[np.ix_(pruned, pruned)]
        del pruned[int(np.argmin(np.diag(part) - 2 * part.sum(axis=1)))]
    return pruned
