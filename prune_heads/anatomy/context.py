"""The input of W_O, what the heads of a block send onwards: where it can be seen and changed.

Most models call W_O as a module, and a pre-hook on it sees its input. Others compute with its weights; they are
made to pass by here for as long as someone wants to look. The forward of `torch.nn.MultiheadAttention` hands the
weights of `out_proj` to one function, in evaluation even past its layer's forward (the fast path), and takes
`embed_dim / num_heads` for the size of a head; here it is computed step by step.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.errors import MaskNotAppliedError

Hook = Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]
"""As a forward pre-hook of W_O; the first argument is its input, `(batch, tokens, n_heads * head_dim)`."""


def on_context(block: AttentionBlock, hook: Hook) -> ExitStack:
    """Call the hook with the input of W_O at every forward pass, until the stack that is returned is closed."""
    undo, way, module = ExitStack(), block.layout.context, block.module

    def turned(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = hook(module, (args[0].transpose(0, 1), *args[1:]))
        return None if changed is None else (changed[0].transpose(0, 1), *changed[1:])

    def post_attention(h: Tensor, attn_vec: Tensor, residual: bool = True) -> Any:
        """XLNet's is given what the heads send as `(tokens, batch, n_heads, head_dim)`."""
        changed = turned(module, (attn_vec.flatten(-2),))
        return before(h, attn_vec if changed is None else changed[0].unflatten(-1, attn_vec.shape[-2:]), residual)

    if way == "post_attention":
        before: Any = module.post_attention
        undo.callback(put(vars(module), way, post_attention))
        return undo
    if way == "multihead":
        undo.push(_step_by_step(module))
    undo.callback(block.output.module.register_forward_pre_hook(turned if way == "batch second" else hook).remove)
    return undo


def put(holder: dict[str, Any], name: str, value: Any) -> Callable[[], None]:
    """Give a dict, as of a module's attributes, another value until the function that is returned is called."""
    undo = partial(holder.__setitem__, name, holder[name]) if name in holder else partial(holder.__delitem__, name)
    holder[name] = value
    return undo


def _step_by_step(module: nn.Module) -> ExitStack:
    """Let a `MultiheadAttention` compute so from now on, until the stack that is returned is closed."""
    undo = ExitStack()
    if "forward" not in vars(module):
        undo.callback(put(vars(module), "forward", _StepByStep(cast(nn.MultiheadAttention, module))))
        # A layer with a hook inside does not take the fast path.
        undo.callback(module.register_forward_pre_hook(_nothing).remove)
    return undo


def keep_heads(module: nn.Module, places: list[int]) -> None:
    """From now on compute with the heads at these places only; to be called before their weights are removed."""
    _step_by_step(module)
    forward = cast(_StepByStep, module.forward)
    forward.heads = [forward.heads[i] for i in places]


def stay_dense(model: nn.Module) -> ExitStack:
    """Keep a model from packing padded texts into nested tensors, which only the fast path can read.

    Until the stack that is returned is closed.
    """
    undo = ExitStack()
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor:
            undo.callback(put(vars(module), "use_nested_tensor", False))
    return undo


def _nothing(module: nn.Module, args: tuple[object, ...]) -> None:
    """A hook that does nothing, and can be pickled with a module."""


class _StepByStep:
    """In place of `MultiheadAttention.forward`; arguments and results as there."""

    def __init__(self, module: nn.MultiheadAttention) -> None:
        self.module = module
        self.heads = list(range(module.num_heads))  # original indices of those left, for masks that differ by head
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
        masks = [
            query.new_zeros(each.shape).masked_fill(each, -torch.inf) if each.dtype == torch.bool else each.to(query)
            for each in (attn_mask, key_padding_mask)
            if each is not None
        ]
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


_LOCK = Lock()
_STANCES: list[Any] = []  # one a with-block; the first sets the stance, which is the process's, the last restores it


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run whatever is compiled as it is written, for the length of a with-block.

    Compiled code does not check whether hooks were added or removed since (`skip_nnmodule_hook_guards`). Code compiled
    while a hook is there would also keep it for good. A `MaskNotAppliedError` inside code that is being compiled, where
    this cannot be changed.
    """
    with _LOCK:
        try:
            _STANCES.append(_STANCES[-1] if _STANCES else torch.compiler.set_stance("force_eager"))
        except RuntimeError as error:
            must = "gates and hooks must be set outside of compiled code; got a compiled function that sets them"
            raise MaskNotAppliedError(f"{must}. Compile the model alone") from error
    try:
        yield
    finally:
        with _LOCK:
            stance = _STANCES.pop()
            if not _STANCES:
                stance.__exit__(None, None, None)
