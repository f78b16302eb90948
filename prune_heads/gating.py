"""`gated`: scale what each head sends into W_O, for the length of a with-block.

The gate is Michel et al.'s mask variable xi_h (2019, section 2.2). transformers 5 ignores `head_mask`, so
the gate is a pre-hook on W_O: outside the attention kernel, hence the same for eager and SDPA attention.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.anatomy.block import AttentionBlock, head_counts
from prune_heads.anatomy.context import on_context
from prune_heads.anatomy.locate import attention_blocks
from prune_heads.anatomy.multihead import stay_dense
from prune_heads.heads import Heads, as_mask


@contextmanager
def gated(model: nn.Module, gates: Sequence[Tensor]) -> Iterator[nn.Module]:
    """Multiply the output of each head by its gate: 1 leaves it, bit for bit; 0 takes it away.

    Args:
        model: A transformers model; it is not copied, and no hook survives the block.
        gates: One tensor an attention block, `(n_heads,)`, `(batch, n_heads)` or `(batch, tokens, n_heads)`,
            for the heads that the block has now. Gradients flow into them.

    Raises:
        UnsupportedModelError: If the model's type is unknown.
        ValueError: If the number or the shape of the gates does not fit.
    """
    blocks = attention_blocks(model)
    if len(gates) != len(blocks):
        raise ValueError(f"gates must be one tensor per block ({len(blocks)}); got {len(gates)}")
    for block, gate in zip(blocks, gates, strict=True):
        if gate.ndim not in (1, 2, 3) or gate.shape[-1] != block.n_heads:
            raise ValueError(
                f"gates of {block.name} must have shape (n_heads,), (batch, n_heads) or (batch, tokens, "
                f"n_heads) with n_heads={block.n_heads}; got {tuple(gate.shape)}"
            )
    with ExitStack() as hooks:
        hooks.callback(stay_dense(model))
        for calls in _by_module(blocks, gates):
            hooks.callback(on_context(calls.block, calls))
            if len(calls.gates) > 1:
                hooks.callback(model.register_forward_pre_hook(calls.start_over).remove)
        yield model


def _by_module(blocks: Sequence[AttentionBlock], gates: Sequence[Tensor]) -> "list[_Gates]":
    """One hook a W_O; layers that share theirs are its calls in a forward pass."""
    hooks: dict[nn.Module, _Gates] = {}
    for block, gate in zip(blocks, gates, strict=True):
        hooks.setdefault(block.output.module, _Gates(block)).gates.append(gate)
    return list(hooks.values())


class _Gates:
    """The pre-hook of one W_O: the gates of its calls, in turn."""

    def __init__(self, block: AttentionBlock) -> None:
        self.block = block
        self.gates: list[Tensor] = []
        self.n_calls = 0

    def start_over(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """At the start of a forward pass, also after one that was broken off."""
        self.n_calls = 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Args: `args[0]` is the input of W_O, `(batch, tokens, n_heads * head_dim)`."""
        context = args[0]
        gate = self.gates[self.n_calls % len(self.gates)].to(context.device, context.dtype)
        self.n_calls += 1
        if gate.ndim == 2:
            gate = gate[:, None, :]  # a gate per example holds for all its tokens
        if gate.ndim == 3 and len(gate) != len(context):
            raise ValueError(f"gates of {self.block.name} are for a batch of {len(gate)}; got {len(context)}")
        return (self.block.gated(context, gate), *args[1:])


def gates_of(model: nn.Module, heads: Heads) -> list[Tensor]:
    """Gates of 0 for the pruned heads and 1 for the others, `(n_heads,)` a block, for `gated`.

    `heads` are in the original numbering; heads that have been removed need no gate.

    Raises:
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    blocks = attention_blocks(model)
    mask = as_mask(heads, head_counts(blocks))
    device = next(model.parameters()).device
    return [
        torch.tensor([float(keep[head]) for head in block.original_heads], device=device)
        for block, keep in zip(blocks, mask.keep(), strict=True)
    ]
