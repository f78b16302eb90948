"""The last layer for the one position that the classifier reads.

BERT and its kin classify by the first token, so the last layer's queries, W_O and feed-forward are needed for one
position only. Its keys and values need not be computed either: with x_t the attention's input at token t, and for
each head h,

    q_h . (W_K,h x_t + b_K,h)        = (W_K,h^T q_h) . x_t + constant over t, which softmax does not see
    sum_t p_t (W_V,h x_t + b_V,h)    = W_V,h (sum_t p_t x_t) + b_V,h, since sum_t p_t = 1

so both are a product with x, of n_heads rows instead of `tokens`. Everything after the attention is the layer's own
forward on one token.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from prune_heads.anatomy import AttentionBlock

Position = Literal["first", "last"]


@dataclass(frozen=True)
class ReadOut:
    """The last layer, computed for one position of each row."""

    block: AttentionBlock
    position: Position
    """The first token, or the last that is not padding."""
    norm: nn.Module | None
    """What stands between the layer's input and its attention; None for nothing."""

    def run(
        self,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: Mapping[str, Any],
        gates: Tensor | None,
    ) -> Any:
        """The layer's output: right at the position, and the same at all others.

        Args:
            forward: The layer's own.
            args: Its arguments by position, the hidden states `(batch, tokens, width)` first, here or by name.
            kwargs: Its arguments by name.
            inputs: Of the model, for the padding; `(batch, tokens)` each.
            gates: Broadcast against `(batch, 1, n_heads)`; None for open gates. A leading dimension is kept.
        """
        name = None if args else next(iter(kwargs))
        hidden: Tensor = args[0] if name is None else kwargs[name]
        n_tokens = hidden.shape[1]
        padding = inputs.get("attention_mask")
        index = position_index(self.position, inputs, *hidden.shape[:2]).to(hidden.device)
        own = hidden[torch.arange(len(hidden), device=hidden.device), index][:, None]
        context = self._context(self._attended(own), self._attended(hidden), padding)
        if gates is not None:
            context = self.block.gated(context, gates)

        def one_token(value: Tensor) -> Tensor:
            where = [slice(1) if i and size == n_tokens else slice(None) for i, size in enumerate(value.shape)]
            return value[tuple(where)]

        rest = tree_map_only(Tensor, one_token, (args[1:], kwargs))
        given = (own, *rest[0]) if name is None else ()
        named = rest[1] if name is None else {**rest[1], name: own}
        handle = self.block.output.module.register_forward_pre_hook(lambda module, args: (context, *args[1:]))
        try:
            output = forward(*given, **named)
        finally:
            handle.remove()
        return tree_map_only(
            Tensor, lambda x: x.expand(*x.shape[:-2], n_tokens, x.shape[-1]) if x.shape[-2] == 1 else x, output
        )

    def _attended(self, hidden: Tensor) -> Tensor:
        return hidden if self.norm is None else self.norm(hidden)

    def _context(self, own: Tensor, x: Tensor, padding: Tensor | None) -> Tensor:
        """`(batch, 1, n_heads * head_dim)`: what the heads read at the position; `own` is x there."""
        block = self.block
        heads = (block.n_heads, block.head_dim)
        query = block.query.module(own)[:, 0].unflatten(-1, heads) * block.head_dim**-0.5
        key = block.key.weight.unflatten(0, heads)
        scores = torch.einsum("bhk,hkd->bhd", query, key) @ x.transpose(1, 2)
        if padding is not None:
            scores = scores.masked_fill(padding[:, None] == 0, -torch.inf)
        mixed = scores.softmax(dim=-1, dtype=torch.float32).to(x.dtype) @ x
        context = torch.einsum("bhd,hkd->bhk", mixed, block.value.weight.unflatten(0, heads)).flatten(-2)
        if block.value.bias is not None:
            context = context + block.value.bias
        return context[:, None]


def position_index(position: Position, inputs: Mapping[str, Any], n_rows: int, n_tokens: int) -> Tensor:
    """`(n_rows,)`: the place of the position in each row."""
    if position == "first":
        return torch.zeros(n_rows, dtype=torch.long)
    padding = inputs.get("attention_mask", torch.ones(n_rows, n_tokens))
    return (padding * torch.arange(n_tokens, device=padding.device)).argmax(dim=1)
