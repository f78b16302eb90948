"""What a well-known script adds up instead of importance. A defect, kept to be measured; not one of `ESTIMATORS`."""

import numpy as np

from prune_heads.heads import HeadScores
from prune_heads.importance.gradient import GateGradients


def running_sum(gradients: GateGradients) -> HeadScores:
    """Mean over examples k of |g_1 + ... + g_k|, g the derivatives dL/dxi_h in file order.

    transformers' run_bertology.py adds up the absolute gradient of its head mask after every batch, but never zeroes
    that gradient, to which each backward pass adds. At its default of one example a batch this is the sum of the
    absolute values of running sums: a head whose derivatives have a mean other than 0 grows with the square of the
    number of examples, and the order of the examples counts. Its division by the number of tokens scales all alike.
    There is no standard error, for the terms depend on each other.
    """
    sums = np.cumsum(gradients.signed, axis=0, dtype=np.float64)
    return gradients.scores(np.abs(sums, out=sums).mean(axis=0))
