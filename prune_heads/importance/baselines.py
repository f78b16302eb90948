"""Criteria that look at no data: something to compare with."""

from collections.abc import Sequence

import numpy as np
import torch

from prune_heads.anatomy import AttentionBlock, gone_from
from prune_heads.heads import HeadScores


def random_scores(n_heads: Sequence[int], seed: int) -> HeadScores:
    """Uniform numbers from [0, 1), a pure function of the seed."""
    return HeadScores.from_flat(np.random.default_rng(seed).random(sum(n_heads)), n_heads)


@torch.no_grad()
def magnitude_scores(blocks: Sequence[AttentionBlock]) -> HeadScores:
    """The l2 norm of each head's weights: its rows of W_Q, W_K, W_V and its columns of W_O, no biases."""
    norms = [_norm(block, i) for block in blocks for i in range(block.n_heads)]
    return HeadScores.of_the_rest(norms, gone_from(blocks))


def _norm(block: AttentionBlock, place: int) -> float:
    """With keys and values that several heads share, these are counted for each of them."""
    group = place * block.n_kv_heads // block.n_heads
    own = [block.output.weight[:, block.output.dimensions([place])]]
    own += [
        p.weight[p.dimensions([i])]
        for p, i in ((block.query, place), (block.key, group), (block.value, group))
    ]
    return float(sum(weight.double().square().sum() for weight in own)) ** 0.5
