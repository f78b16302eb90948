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


def step_by_step(module: nn.Module) -> Callable[[], None]:
    """Let a `MultiheadAttention` compute so from now on, until the function that is returned is called."""
    if "forward" in vars(module):
        return lambda: None
    module.__dict__["forward"] = _StepByStep(cast(nn.MultiheadAttention, module))
    handle = module.register_forward_pre_hook(_nothing)  # a layer with a hook inside does not take the fast path

    def undo() -> None:
        handle.remove()
        del module.__dict__["forward"]

    return undo


def keep_heads(module: nn.Module, places: list[int]) -> None:
    """From now on compute with the heads at these places only; to be called before their weights are removed."""
    step_by_step(module)
    forward = cast(_StepByStep, module.forward)
    forward.heads = [forward.heads[i] for i in places]


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
        module, batched, second = self.module, query.ndim == 3, not self.module.batch_first
        inputs = [x[None] if not batched else x.transpose(0, 1) if second else x for x in (query, key, value)]
        if key_padding_mask is not None:  # (batch, heads, queries, keys)
            key_padding_mask = (key_padding_mask if batched else key_padding_mask[None])[:, None, None]
        if attn_mask is not None and attn_mask.ndim == 3:  # (batch * heads there were, queries, keys)
            attn_mask = attn_mask.unflatten(0, (-1, self.n_original))[:, self.heads]
        masks = [_added(each, query.dtype) for each in (attn_mask, key_padding_mask) if each is not None]
        mask = sum(masks[1:], masks[0]) if masks else None
        weight, bias = cast(Tensor, module.in_proj_weight), module.in_proj_bias
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        heads = (len(self.heads), module.head_dim)
        query, key, value = (  # (batch, heads, tokens, dimensions)
            functional.linear(x, w, b).unflatten(-1, heads).transpose(1, 2)
            for x, w, b in zip(inputs, weight.chunk(3), biases, strict=True)
        )
        dropout, weights = module.dropout if module.training else 0.0, None
        if not self.heads:
            context = query
        elif need_weights:
            scores = query @ key.transpose(-2, -1) / math.sqrt(module.head_dim)
            weights = functional.dropout((scores if mask is None else scores + mask).softmax(dim=-1), dropout)
            context = weights @ value
        else:
            context = functional.scaled_dot_product_attention(query, key, value, mask, dropout)
        output = cast(Tensor, module.out_proj(context.transpose(1, 2).flatten(-2)))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output.transpose(0, 1) if second else output, weights


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of truth values, true where nothing may be seen, as numbers to add to the scores."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)
