"""Criteria that look at no data: something to compare with."""

from collections.abc import Sequence

import numpy as np
import torch

from prune_heads.anatomy import AttentionBlock
from prune_heads.heads import HeadScores


def random_scores(n_heads: Sequence[int], seed: int) -> HeadScores:
    """Uniform numbers from [0, 1), a pure function of the seed."""
    return HeadScores.from_flat(np.random.default_rng(seed).random(sum(n_heads)), n_heads)


@torch.no_grad()
def magnitude_scores(blocks: Sequence[AttentionBlock]) -> HeadScores:
    """The l2 norm of each head's weights: its rows of W_Q, W_K, W_V and its columns of W_O, no biases."""
    rows = []
    for block in blocks:
        squares = block.output.weight.double().square().sum(dim=0)
        for projection in (block.query, block.key, block.value):
            squares = squares + projection.weight.double().square().sum(dim=1)
        rows.append(squares.unflatten(0, (block.n_heads, block.head_dim)).sum(dim=1).sqrt().cpu().numpy())
    return HeadScores(tuple(rows))
