"""What each head looks at: attention probabilities, the vectors that they weigh, and what each head sends into W_O.

They are read from the kernel that runs: from the softmax and the product with the values, or from the arguments of
`scaled_dot_product_attention`. So nothing is computed another way than the model computes it, and every type of model
whose heads can be gated can be looked at. Kernels that show neither (flash, flex) are replaced by `sdpa` meanwhile.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from prune_heads.anatomy import AttentionBlock, attention_blocks, models_inside, on_context, stay_dense, uncompiled
from prune_heads.errors import UnsupportedModelError

TOLERANCE = 1e-4  # how far what the map and the values give may be from what W_O is given, of the largest number there
MUST_SHOW = "attention must be computed by a softmax over the keys and a product with the values"
_KERNELS = ("eager", "sdpa")  # that can be read
_SOFTMAX = (torch.softmax, functional.softmax, Tensor.softmax)
_PRODUCT = (torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__)


@dataclass(frozen=True)
class Attention:
    """What the heads of one block did in a forward pass; heads are those that the block has now, in their order."""

    place: int  # of the block in `attention_blocks`, from 0
    block: AttentionBlock
    context: Tensor
    """`(batch, queries, n_heads, head_dim)`: what each head sends into W_O."""
    map: Tensor | None = None
    """`(batch, n_heads, queries, keys)`: attention probabilities; None where the kernel does not show them."""
    values: Tensor | None = None
    """`(batch, n_heads, keys, head_dim)`: x_j W_V + b_V; None where the map does not weigh vectors one by one."""

    @property
    def probabilities(self) -> Tensor:
        """The map.

        Raises:
            UnsupportedModelError: If the kernel does not show it.
        """
        if self.map is None:
            raise UnsupportedModelError(f"{MUST_SHOW}; that of {self.block.name} is not, so it has no map to look at")
        return self.map

    @property
    def weighted(self) -> Tensor:
        """`(batch, n_heads, queries, keys)`: |a_ij| times the length of (x_j W_V + b_V) W_O (Kobayashi et al. 2020).

        Raises:
            UnsupportedModelError: If the map or the vectors that it weighs are not shown.
        """
        if self.values is None:
            must = "the output of a head must be a sum of values, weighted by its map"
            raise UnsupportedModelError(f"{must}; that of {self.block.name} is not, so the values have no lengths")
        return (
            self.probabilities.abs() * self.sent(self.values.transpose(1, 2)).norm(dim=-1).transpose(1, 2)[:, :, None]
        )

    @property
    def outputs(self) -> Tensor:
        """`(batch, queries, n_heads, width)`: what each head adds to the block's output; W_O's bias is no head's."""
        return self.sent(self.context)

    def sent(self, vectors: Tensor) -> Tensor:
        """`(..., n_heads, width)`: vectors of the heads, `(..., n_heads, head_dim)`, after each head's slice of W_O."""
        weight = self.block.output.weight.detach().unflatten(1, (self.block.n_heads, self.block.head_dim))
        return torch.einsum("...hd,whd->...hw", vectors, weight.to(vectors.dtype))


@dataclass
class _Call:
    """One call of an attention module."""

    n_heads: int
    changed: Callable[[Tensor], Tensor] | None = None
    map: Tensor | None = None
    values: Tensor | None = None
    context: Tensor | None = None
    softmax: Tensor | None = field(default=None, repr=False)  # the last of a fitting shape


Changed = Mapping[nn.Module, Callable[[Tensor], Tensor]]


@contextmanager
def observing(
    model: nn.Module, changed: Changed = MappingProxyType({})
) -> Iterator[Callable[..., tuple[Any, list[Attention]]]]:
    """Within the block, a function that runs the model on its inputs and gives its output and what each block did.

    The model runs as it is: in evaluation mode if it is in it, with gates if it is `gated`. The kernel is `sdpa`
    meanwhile where it was one that shows nothing.

    Args:
        model: One that `attention_blocks` knows.
        changed: Attention module -> what its maps are replaced by, given them; to see that they matter.

    Raises:
        UnsupportedModelError: If the model's type is unknown.
    """
    blocks = attention_blocks(model)
    reader = _Reader(changed)
    with ExitStack() as undo:
        undo.enter_context(uncompiled())
        undo.push(stay_dense(model))
        for part in models_inside(model).values():
            _let_kernel_be_read(part, undo)
        for module, block in {block.module: block for block in reversed(blocks)}.items():
            if not block.n_heads:
                continue
            undo.callback(module.register_forward_pre_hook(partial(reader.begin, block)).remove)
            undo.push(on_context(block, partial(reader.met, block)))
            undo.callback(module.register_forward_hook(reader.end).remove)

        def observe(**inputs: Any) -> tuple[Any, list[Attention]]:
            reader.calls, reader.open = {}, []  # a pass before may have been broken off
            with reader:
                output = model(**inputs)
            every = (reader.of(place, block) for place, block in enumerate(blocks))
            return output, [found for found in every if found is not None]

        yield observe


def _let_kernel_be_read(model: Any, undo: ExitStack) -> None:
    """Take another kernel where the model's cannot be read; its configuration is as before afterwards."""
    was = getattr(model.config, "_attn_implementation", None)
    if was is None or was in _KERNELS:
        return
    for kernel in reversed(_KERNELS):
        try:
            model.set_attn_implementation(kernel)
        except (ImportError, ValueError):
            continue
        undo.callback(model.set_attn_implementation, was)
        return


class _Reader(TorchFunctionMode):
    """Sees the functions of torch that are called inside an attention module."""

    def __init__(self, changed: Changed) -> None:
        super().__init__()
        self.changed = changed
        self.calls: dict[nn.Module, list[_Call]] = {}
        self.open: list[_Call] = []  # of the modules that run now, the innermost last

    def begin(self, block: AttentionBlock, module: nn.Module, args: Any) -> None:
        self.open.append(_Call(block.n_heads, self.changed.get(module)))
        self.calls.setdefault(module, []).append(self.open[-1])

    def end(self, module: nn.Module, args: Any, output: Any) -> None:
        self.open.pop()

    def met(self, block: AttentionBlock, module: nn.Module, args: tuple[Any, ...]) -> None:
        """At W_O."""
        if self.open:
            self.open[-1].context = args[0].detach().unflatten(-1, (block.n_heads, block.head_dim))

    def of(self, place: int, block: AttentionBlock) -> Attention | None:
        """What the block at this place did; None if it did not run."""
        calls = self.calls.get(block.module, [])
        if block.depth >= len(calls) or (context := (call := calls[block.depth]).context) is None:
            return None
        context = context.reshape(-1, *context.shape[-3:])
        found, values = call.map, call.values
        n_queries = context.shape[1]
        n_keys = n_queries if block.kind == "self" else -1 if found is None else found.shape[-1]
        if found is None or found.shape[1:] != (block.n_heads, n_queries, n_keys):
            return Attention(place, block, context)  # a softmax over something else, such as landmarks
        if values is not None and values.shape[-2:] == (n_keys, block.head_dim):
            values = values.expand(*found.shape[:2], -1, -1)  # heads may share theirs
            if (scale := _scale((found.to(values.dtype) @ values).transpose(1, 2), context)) is not None:
                return Attention(place, block, context, found, values * scale[:, :, None, None])
        return Attention(place, block, context, found)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.open:
            return func(*args, **kwargs)
        call = self.open[-1]
        if func is functional.scaled_dot_product_attention:
            return self._fused(call, func, args, kwargs)
        place = 1 if func is torch.einsum else 0  # of the first operand
        if func in (*_PRODUCT, torch.einsum) and call.softmax is not None and _fits(call.softmax, args[place]):
            found, values, call.softmax = args[place], args[place + 1], None
            if place:
                values = _as_product(args[0], values)
            call.map = _by_head(found, -1, call.n_heads)
            call.values = None if call.map is None else _by_head(values, len(call.map), -1)
            if call.changed is not None:
                args = (*args[:place], call.changed(found), *args[place + 1 :])
        output = func(*args, **kwargs)
        if func in _SOFTMAX and output.ndim in (3, 4):
            call.softmax = output
        return output

    def _fused(self, call: _Call, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"), args, strict=False))
        given |= kwargs
        query, key, value = given["query"], given["key"], given["value"]
        if given.get("enable_gqa"):
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
        call.map = _probabilities(query, key, given.get("attn_mask"), given.get("is_causal", False), given.get("scale"))
        call.values = value.detach()
        if call.changed is None:
            return func(*args, **kwargs)
        return call.changed(call.map).to(value.dtype) @ value


def _scale(again: Tensor, context: Tensor) -> Tensor | None:
    """`(batch, n_heads)`: what each head's sum of values is multiplied by on its way to W_O, as by its gate.

    1 where nothing is done to it; None where what is done is no multiple. Both are `(batch, queries, heads, dims)`.
    """
    tolerance = (TOLERANCE if context.dtype == torch.float32 else 2e-2) * max(float(context.abs().max()), 1e-30)
    scale = again.new_ones(again.shape[0], again.shape[2])
    if float((again - context).abs().max()) <= tolerance:
        return scale
    again, context = again.float(), context.float()
    scale = (again * context).sum(dim=(1, 3)) / again.square().sum(dim=(1, 3)).clamp(min=1e-30)
    is_multiple = float((again * scale[:, None, :, None] - context).abs().max()) <= tolerance
    return scale.to(again.dtype) if is_multiple else None


def _probabilities(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None) -> Tensor:
    """`(batch, n_heads, queries, keys)`, as `scaled_dot_product_attention` defines them; rows of no key are 0."""
    with torch.no_grad():
        scores = query.float() @ key.float().transpose(-2, -1)
        scores = scores * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        elif mask is not None:
            scores = scores + mask
        return scores.softmax(dim=-1).nan_to_num(nan=0.0)


def _fits(softmax: Tensor, found: object) -> bool:
    """Whether it may be the map that a softmax gave: the same queries of as many heads in all."""
    if not isinstance(found, Tensor) or found.ndim not in (3, 4):
        return False
    return found.shape[:-2].numel() == softmax.shape[:-2].numel() and found.shape[-2] == softmax.shape[-2]


def _as_product(equation: str, values: Tensor) -> Tensor:
    """The second operand of an einsum whose first is `(batch, heads, queries, keys)`, as `torch.matmul` takes it."""
    first, second = (part.strip() for part in equation.partition("->")[0].split(","))
    batch, head, _, key = list(first)
    rest = next(letter for letter in second if letter not in (batch, head, key))
    return values.permute([second.index(letter) for letter in (batch, head, key, rest)])


def _by_head(found: Tensor, batch: int, n_heads: int) -> Tensor | None:
    """`(batch, heads, ..., ...)`, also of what has both in one dimension; the one that is not known is -1."""
    if found.ndim == 3 and found.shape[0] % max(batch, n_heads) == 0:
        found = found.unflatten(0, (batch, n_heads))
    return found.detach() if found.ndim == 4 else None
