"""`torch.nn.MultiheadAttention` computed step by step, so that W_O is called and heads may be fewer.

Its own forward hands the weights of `out_proj` to one function, in evaluation even past its layer's forward (the
fast path), and takes `embed_dim / num_heads` for the size of a head.
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from prune_heads.errors import UnsupportedModelError


def why_not_plain(module: nn.MultiheadAttention) -> str:
    """What this forward does not compute; empty where it computes all."""
    if module.in_proj_weight is None:
        return "its keys or values have another width than its queries (kdim, vdim)"
    if module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
        return "it adds keys and values that no token has (add_bias_kv, add_zero_attn)"
    return ""


def step_by_step(module: nn.Module) -> Callable[[], None]:
    """Let a `MultiheadAttention` compute so from now on, until the function that is returned is called."""
    if "forward" in vars(module):
        return lambda: None
    if not isinstance(module, nn.MultiheadAttention):
        raise UnsupportedModelError(f"the module must be a MultiheadAttention; got {type(module).__name__}")
    module.__dict__["forward"] = _StepByStep(module)
    handle = module.register_forward_pre_hook(_nothing)  # a layer with a hook inside does not take the fast path

    def undo() -> None:
        handle.remove()
        del module.__dict__["forward"]

    return undo


def keep_heads(module: nn.Module, places: list[int]) -> None:
    """From now on compute with the heads at these places only; to be called before their weights are removed."""
    step_by_step(module)
    cast(_StepByStep, module.forward).keep(places)


def stay_dense(model: nn.Module) -> Callable[[], None]:
    """Keep the stacks of a model from packing padded texts into nested tensors, which only the fast path can read."""
    packing = [m for m in model.modules() if isinstance(m, nn.TransformerEncoder) and m.use_nested_tensor]
    for encoder in packing:
        encoder.use_nested_tensor = False

    def undo() -> None:
        for encoder in packing:
            encoder.use_nested_tensor = True

    return undo


def _nothing(module: nn.Module, args: tuple[object, ...]) -> None:
    """A hook that does nothing."""


class _StepByStep:
    """In place of `MultiheadAttention.forward`; arguments and results as there."""

    def __init__(self, module: nn.MultiheadAttention) -> None:
        self.module = module
        self.heads = list(range(module.num_heads))
        """Original indices of the heads that are there, for masks that differ between heads."""
        self.n_original = module.num_heads

    def keep(self, places: list[int]) -> None:
        """Of the heads that are there, those at these places stay."""
        self.heads = [self.heads[i] for i in places]

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise ValueError("is_causal is a hint about attn_mask, which must be given; got none")
        batched, first = query.ndim == 3, self.module.batch_first
        inputs = [self._batch_first(x, batched, first) for x in (query, key, value)]
        if key_padding_mask is not None and not batched:
            key_padding_mask = key_padding_mask[None]
        mask = self._mask(attn_mask, key_padding_mask, inputs[0])
        query, key, value = self._by_head(inputs)
        context, weights = self._attend(query, key, value, mask, need_weights)
        output = cast(Tensor, self.module.out_proj(context))
        if not batched:
            output, weights = output[0], None if weights is None else weights[0]
        elif not first:
            output = output.transpose(0, 1)
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=-3)
        return output, weights

    def _by_head(self, inputs: list[Tensor]) -> list[Tensor]:
        """Queries, keys and values, `(batch, n_heads, tokens, head_dim)` each."""
        weight, bias = cast(Tensor, self.module.in_proj_weight), self.module.in_proj_bias
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        heads = (len(self.heads), self.module.head_dim)
        return [
            functional.linear(x, w, b).unflatten(-1, heads).transpose(1, 2)
            for x, w, b in zip(inputs, weight.chunk(3), biases, strict=True)
        ]

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """`(batch, tokens, n_heads * head_dim)`, and the weights `(batch, n_heads, queries, keys)` if asked for."""
        dropout = self.module.dropout if self.module.training else 0.0
        if not self.heads:
            return query.new_empty(len(query), query.shape[2], 0), None
        if not need_weights:
            context = functional.scaled_dot_product_attention(query, key, value, mask, dropout)
            return context.transpose(1, 2).flatten(-2), None
        scores = query @ key.transpose(-2, -1) / math.sqrt(self.module.head_dim)
        weights = functional.dropout((scores if mask is None else scores + mask).softmax(dim=-1), dropout)
        return (weights @ value).transpose(1, 2).flatten(-2), weights

    def _mask(self, attn: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
        """What is added to the scores, broadcast against `(batch, n_heads, queries, keys)`."""
        parts = []
        if attn is not None:
            attn = _added(attn, like)
            if attn.ndim == 3:  # (batch * heads there were, queries, keys)
                attn = attn.unflatten(0, (-1, self.n_original))[:, self.heads]
            parts.append(attn)
        if padding is not None:
            parts.append(_added(padding, like)[:, None, None])
        return None if not parts else sum(parts[1:], parts[0])

    @staticmethod
    def _batch_first(x: Tensor, batched: bool, first: bool) -> Tensor:
        return x[None] if not batched else x if first else x.transpose(0, 1)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask of truth values, true where nothing may be seen, as numbers to add."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)
