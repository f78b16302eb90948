"""Scores that the layers of a model share, head by head, after some layers have lost heads.

T5's first layer computes one relative bias for all heads of all layers and hands it on; MPNet's encoder does the same.
A block that has lost heads takes those of its own, and a first layer still hands on the biases of all.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.anatomy.block import AttentionBlock


def select_biases(block: AttentionBlock, kept: list[int]) -> None:
    """Let a block take the scores of the heads that it keeps (places, from 0); does nothing where none are shared."""
    if not block.layout.shared_biases:
        return
    before = vars(block.module).get("_prune_heads_biases")
    if before is not None:
        before.heads = [before.heads[i] for i in kept]
        return
    shared = _SharedBiases(block.module, block.layout.shared_biases, block.n_original_heads, list(kept))
    block.module.__dict__["_prune_heads_biases"] = shared  # beside the module's own attributes, not one of its modules
    block.module.register_forward_pre_hook(shared.select, with_kwargs=True)
    if hasattr(block.module, "compute_bias"):
        block.module.__dict__["compute_bias"] = shared.compute
        block.module.register_forward_hook(shared.hand_on)


@dataclass
class _SharedBiases:
    """What a block of fewer heads does with scores for all heads, `(..., n_heads, queries, keys)`."""

    module: nn.Module
    names: tuple[str, ...]
    n_heads: int
    heads: list[int]
    """Original indices of the heads that are there."""
    everyone: Tensor | None = None
    """The scores of all heads, given or computed in the call that runs."""

    def select(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Pre-hook: of each shared score, the heads that are there."""
        names = list(inspect.signature(type(module).forward).parameters)[1:]
        named = dict(zip(names, args, strict=False)) | kwargs
        self.everyone = named.get(self.names[0])
        own = {name: self._own(named[name]) for name in self.names if name in named}
        kept = tuple(own.get(name, x) for name, x in zip(names, args, strict=False))
        return kept, kwargs | {name: own[name] for name in own.keys() & kwargs.keys()}

    def compute(self, *args: Any, **kwargs: Any) -> Tensor:
        """In place of the module's own, which looks up the biases of all heads."""
        of_all = type(self.module).compute_bias  # type: ignore[attr-defined]
        self.everyone = of_all(self.module, *args, **kwargs)
        own: Tensor = self._own(self.everyone)
        return own

    def hand_on(self, module: nn.Module, args: tuple[Any, ...], output: tuple[Any, ...]) -> tuple[Any, ...]:
        """Hook: the next layers get the scores of all heads; None where there were none to look up."""
        everyone, self.everyone = self.everyone, None
        return (output[0], everyone, *output[2:])

    def _own(self, scores: Any) -> Any:
        if not isinstance(scores, Tensor) or scores.shape[-3] != self.n_heads:
            return scores
        return scores.index_select(-3, torch.tensor(self.heads, dtype=torch.long, device=scores.device))
