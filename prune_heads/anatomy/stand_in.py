"""A described attention that has lost all its heads: its own forward runs on, with one head of zeros.

What its forward returns, caches and reshapes is not known here, so nothing can take its place; and few classes can
compute without any head. A head of zeros sends zeros into W_O, so what is left is W_O's bias, as it must be.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import nn

from prune_heads.anatomy.block import AttentionBlock


def keep_a_head_of_zeros(block: AttentionBlock, counters: Iterable[tuple[nn.Module, str, int]]) -> None:
    """Let a block without heads compute as with one, which is in the model for the length of a forward pass only.

    Args:
        block: Before its heads are taken out.
        counters: Its attributes that count heads or their dimensions, with their values then.
    """
    block.module.__dict__["forward"] = _HeadOfZeros(block, counters)


class _HeadOfZeros:
    """In place of the attention's forward; arguments and results as there."""

    def __init__(self, block: AttentionBlock, counters: Iterable[tuple[nn.Module, str, int]]) -> None:
        self.forward = block.module.forward
        heads = range(block.n_heads // block.n_kv_heads)
        rows: Counter[tuple[nn.Module, str, int]] = Counter()
        for owned in block.owned(heads):
            rows[owned[:3]] += len(owned.indices)
        self.rows = dict(rows)
        """Of each weight (module, name, dimension of the heads), the size of that dimension."""
        self.counters = [(module, name, count // block.n_kv_heads) for module, name, count in counters]
        """What they say of one group of heads."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        weights = [(module._parameters, name, module._parameters[name]) for module, name, _ in self.rows]
        counts = [(module, name, getattr(module, name)) for module, name, _ in self.counters]
        try:
            for (module, name, dim), size in self.rows.items():
                empty = module._parameters[name]
                if empty is not None:
                    shape = [*empty.shape[:dim], size, *empty.shape[dim + 1 :]]
                    module._parameters[name] = empty.new_zeros(shape)  # type: ignore[assignment]
            for module, name, count in self.counters:
                setattr(module, name, count)
            return self.forward(*args, **kwargs)
        finally:
            for parameters, name, empty in weights:
                parameters[name] = empty
            for module, name, count in counts:
                setattr(module, name, count)
