"""Head dropout, DropHead of Zhou et al. (2020): each step of a training leaves out some heads of each layer."""

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prune_heads.anatomy import attention_blocks
from prune_heads.gating import gated
from prune_heads.heads import HeadMask
from prune_heads.options import Recipe


class HeadDropout:
    """Gates of each step, which follow from the seed, the step and the block alone: a killed training goes on alike.

    In a block of n heads each is left out with probability p, and those that stay are multiplied by n / (their number),
    so that each gate is 1 on average. Where all would go, one stays, drawn at random. Heads of zeros are none of the n;
    heads that were removed are none either, and the others draw what they would draw beside them.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, zeroed: HeadMask) -> None:
        """For a model whose heads do not change any more; `zeroed` are those whose weights are zero."""
        self.model, self.recipe = model, recipe
        pairs = zip(attention_blocks(model), zeroed.keep(), strict=True)
        self.heads = [(b.n_original_heads, [*b.original_heads], keep[[*b.original_heads]]) for b, keep in pairs]

    def probability(self, step: int, n_steps: int) -> float:
        """To leave a head out in a step, from 0, of so many.

        The schedule `v` falls linearly to 0 over the warm-up of the learning rate and rises linearly to the end, as
        Scheduled DropHead does with the same probability at both ends.
        """
        most, turn = self.recipe.head_dropout, math.ceil(self.recipe.warmup * n_steps)
        if self.recipe.schedule != "v":
            return most
        return most * (1 - step / turn if step < turn else (step - turn) / (n_steps - turn))

    def gates(self, step: int, n_steps: int) -> list[Tensor]:
        """`(n_heads,)` a block, in float32."""
        p, found = self.probability(step, n_steps), []
        for number, (n_original, there, alive) in enumerate(self.heads):
            drawn = np.random.default_rng([self.recipe.seed, step, number]).random(n_original)[there]
            kept = alive & (drawn >= p)
            if alive.any() and not kept.any():
                kept[np.where(alive, drawn, -1).argmax()] = True
            found.append(torch.from_numpy(kept * (alive.sum() / max(1, kept.sum()))).float())
        return found

    def step(self, state: Any) -> AbstractContextManager[nn.Module]:
        """The model with the gates of the step that comes next, by the trainer's state."""
        return gated(self.model, self.gates(state.global_step, state.max_steps))
