"""Integrals of derivatives by the gates along the straight path from no heads to all (Sundararajan et al., 2017)."""

import numpy as np
import torch

from prune_heads.anatomy import attention_blocks
from prune_heads.heads import HeadScores
from prune_heads.importance.criteria import Examples
from prune_heads.importance.gradient import gate_gradients

POINTS = 16  # of Gauss-Legendre quadrature


def integrated_gradients(examples: Examples) -> HeadScores:
    """Minus the integral of dL/dxi_h, all gates going from 0 to 1 together, by Gauss-Legendre with 16 points.

    The scores add up to the loss without any head minus the loss (completeness). With `--replace` the path begins where
    what stands in is all that heads send.
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    model, batches, reporter = examples.model, examples.batches, examples.predictions.reporter
    n_heads = [block.n_heads for block in attention_blocks(model)]
    total = np.zeros((batches.n_examples, sum(n_heads)))
    with reporter.stage("scoring", POINTS * batches.n_examples) as progress:
        for node, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
            at = [torch.full((n,), node) for n in n_heads]
            total += weight * gate_gradients(model, batches, at=at, progress=progress).signed
    examples.spend("integrated-gradients", POINTS, POINTS)
    return examples.mean(-total)
