"""What each head looks at: attention probabilities, the vectors that they weigh, and what each head sends into W_O.

They are read from the kernel that runs: from the softmax and the product with the values, or from the arguments of
`scaled_dot_product_attention`. So nothing is computed another way than the model computes it, and every type of model
whose heads can be gated can be looked at. Kernels that show neither (flash, flex) are replaced by `eager` meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from prune_heads.anatomy import AttentionBlock, attention_blocks, models_inside, on_context, stay_dense, uncompiled
from prune_heads.errors import UnsupportedModelError
from prune_heads.gating import evaluating
from prune_heads.verification import compared, differ, has_output

TOLERANCE = 1e-4  # how far what the map and the values give may be from what W_O is given, of the largest number there
MUST_SHOW = "attention must be computed by a softmax over the keys and a product with the values"
_SOFTMAX = (torch.softmax, functional.softmax, Tensor.softmax)
_PRODUCT = (torch.matmul, torch.bmm, torch.einsum, Tensor.matmul, Tensor.bmm, Tensor.__matmul__)


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
        """The map; an `UnsupportedModelError` where the kernel does not show it."""
        if self.map is None:
            raise UnsupportedModelError(f"{MUST_SHOW}; that of {self.block.name} is not, so it has no map to look at")
        return self.map

    @property
    def weighted(self) -> Tensor:
        """`(batch, n_heads, queries, keys)`: |a_ij| times the length of (x_j W_V + b_V) W_O (Kobayashi et al. 2020).

        An `UnsupportedModelError` where the map, or the vectors that it weighs, are not shown.
        """
        if self.values is None:
            must = "the output of a head must be a sum of values, weighted by its map"
            raise UnsupportedModelError(f"{must}; that of {self.block.name} is not, so the values have no lengths")
        lengths = self.sent(self.values.transpose(1, 2)).norm(dim=-1).transpose(1, 2)
        return self.probabilities.abs() * lengths[:, :, None]

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

    changed: Callable[[Tensor], Tensor] | None
    map: Tensor | None = None
    values: Tensor | None = None
    context: Tensor | None = None
    softmax: tuple[int, int] | None = None  # maps and queries of the last that has gone into no product


Changed = Mapping[nn.Module, Callable[[Tensor], Tensor]]


@contextmanager
def plain_kernel(model: nn.Module) -> Iterator[None]:
    """`eager` for the length of the block, where the kernel is one that shows nothing and is differentiated once."""
    with ExitStack() as undo:
        for part in models_inside(model).values():
            kernel = getattr(part.config, "_attn_implementation", None)
            if kernel not in (None, "eager", "sdpa"):
                part.set_attn_implementation("eager")
                undo.callback(part.set_attn_implementation, kernel)
        yield


@contextmanager
def observing(model: nn.Module, changed: Changed | None = None) -> Iterator[Callable[..., tuple[Any, list[Attention]]]]:
    """Within the block, a function that runs the model on its inputs and gives its output and what each block did.

    The model runs as it is: in evaluation mode if it is in it, with gates if it is `gated`. The kernel is `eager`
    meanwhile where it was one that shows nothing.

    Args:
        model: One that `attention_blocks` knows.
        changed: Attention module -> what its maps are replaced by, given them; to see that they matter.

    Raises:
        UnsupportedModelError: If the model's type is unknown.
    """
    blocks = attention_blocks(model)
    reader = _Reader(changed or {})
    with ExitStack() as undo:
        undo.enter_context(uncompiled())
        undo.push(stay_dense(model))
        undo.enter_context(plain_kernel(model))
        for module, block in {block.module: block for block in reversed(blocks)}.items():
            if not block.n_heads:
                continue
            undo.callback(module.register_forward_pre_hook(reader.begin).remove)
            undo.push(on_context(block, reader.met))
            undo.callback(module.register_forward_hook(reader.end).remove)

        def observe(**inputs: Any) -> tuple[Any, list[Attention]]:
            reader.calls, reader.open = {}, []  # a pass before may have been broken off
            with reader:
                output = model(**inputs)
            every = (reader.of(place, block) for place, block in enumerate(blocks))
            return output, [found for found in every if found is not None]

        yield observe


class _Reader(TorchFunctionMode):
    """Sees the functions of torch that are called inside an attention module."""

    def __init__(self, changed: Changed) -> None:
        super().__init__()
        self.changed = changed
        self.calls: dict[nn.Module, list[_Call]] = {}
        self.open: list[_Call] = []  # of the modules that run now, the innermost last

    def begin(self, module: nn.Module, args: Any) -> None:
        self.open.append(_Call(self.changed.get(module)))
        self.calls.setdefault(module, []).append(self.open[-1])

    def end(self, module: nn.Module, args: Any, output: Any) -> None:
        self.open.pop()

    def met(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """At W_O."""
        if self.open:
            self.open[-1].context = args[0].detach()

    def of(self, place: int, block: AttentionBlock) -> Attention | None:
        """What the block at this place did; None if it did not run."""
        calls = self.calls.get(block.module, [])
        if block.depth >= len(calls) or (context := (call := calls[block.depth]).context) is None:
            return None
        context = context.reshape(-1, context.shape[-2], block.n_heads, block.head_dim)
        (n, n_queries, n_heads, _), found, values = context.shape, call.map, call.values
        if not _is_of(found, n * n_heads, n_queries) or (block.kind == "self" and found.shape[-1] != n_queries):
            return Attention(place, block, context)  # a softmax over something else, such as landmarks
        if found.ndim == 4 and found.shape[1] != n_heads:
            return Attention(place, block, context)  # heads before texts: those of a batch would be mixed up
        found = found.detach().reshape(n, n_heads, n_queries, -1)
        if _is_of(values, n * n_heads, found.shape[-1]) or _is_of(values, n, found.shape[-1]):  # heads may share theirs
            values = values.detach().reshape(n, -1, *values.shape[-2:]).expand(-1, n_heads, -1, -1)
            again = (found.to(values.dtype) @ values).transpose(1, 2)
            if again.shape == context.shape and (scale := _scale(again, context)) is not None:
                return Attention(place, block, context, found, values * scale[:, :, None, None])
        return Attention(place, block, context, found)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.open:
            return func(*args, **kwargs)
        call = self.open[-1]
        if func is functional.scaled_dot_product_attention:
            call.map, call.values = _of_fused(*args, **kwargs)
            if call.changed is not None:
                return call.changed(call.map).to(call.values.dtype) @ call.values
        place = 1 if func is torch.einsum else 0  # of the first operand
        if func in _PRODUCT and call.softmax is not None and _is_of(args[place], *call.softmax):
            call.map, call.values, call.softmax = args[place], args[place + 1], None
            if place:  # as `torch.matmul` takes them: texts, heads, keys, dimensions
                first, second = args[0].replace(" ", "").partition("->")[0].split(",")
                (rest,) = set(second) - set(first)
                call.values = torch.einsum(f"{second}->{first[:2]}{first[3]}{rest}", args[2])
            if call.changed is not None:
                args = (*args[:place], call.changed(args[place]), *args[place + 1 :])
        output = func(*args, **kwargs)
        if func in _SOFTMAX and output.ndim in (3, 4):
            call.softmax = output.shape[:-2].numel(), output.shape[-2]
        return output


def _scale(again: Tensor, context: Tensor) -> Tensor | None:
    """`(batch, n_heads)`: what each head's sum of values is multiplied by on its way to W_O, as by its gate.

    1 where nothing is done to it; None where what is done is no multiple. Both are `(batch, queries, heads, dims)`.
    """
    tolerance = (TOLERANCE if context.dtype == torch.float32 else 2e-2) * max(float(context.abs().max()), 1e-30)
    one, again, context = again.new_ones(again.shape[0], again.shape[2]), again.float(), context.float()
    fitted = (again * context).sum(dim=(1, 3)) / again.square().sum(dim=(1, 3)).clamp(min=1e-30)
    for scale in (one, fitted.to(one.dtype)):
        if float((again * scale[:, None, :, None] - context).abs().max()) <= tolerance:
            return scale
    return None


def _of_fused(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0, *more: Any, **how: Any
) -> tuple[Tensor, Tensor]:
    """The map in float32 and the values of each head, of the arguments of `scaled_dot_product_attention`.

    The map is what it gives where the values are the identity; a query that may look at no key has a row of zeros.
    """
    one = torch.eye(key.shape[-2], device=key.device).expand(*key.shape[:-1], -1)
    mask = attn_mask if attn_mask is None or attn_mask.dtype == torch.bool else attn_mask.float()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        found = functional.scaled_dot_product_attention(query.float(), key.float(), one, mask, 0.0, *more, **how)
    return found, value.detach().repeat_interleave(query.shape[-3] // value.shape[-3], dim=-3)


def _is_of(found: object, n: int, n_rows: int) -> TypeGuard[Tensor]:
    """Whether it is `(n, n_rows, ...)`, where `n` may be two dimensions: texts and heads."""
    if not isinstance(found, Tensor) or found.ndim not in (3, 4):
        return False
    return (found.shape[:-2].numel(), found.shape[-2]) == (n, n_rows)


@torch.no_grad()
def unproved_maps(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Blocks whose map is none that can be looked at, by name, and why.

    The rows of a map must sum to one, each must be of one query, and another map must change the output, but where all
    heads of the block have been zeroed. One forward pass a block, up to three in doubt, and one as it is.

    Args:
        model: In evaluation mode.
        inputs: A tokenised batch of one text without padding.
    """
    faults: dict[str, str] = {}
    with observing(model) as observe:
        output, seen = observe(**inputs)
    for each in seen:
        name = each.block.name
        if each.map is None:
            faults[name] = f"{MUST_SHOW}; that of {name} is not"
            continue
        if float((each.map.float().sum(dim=-1) - 1).abs().max()) > 1e-2:
            faults[name] = f"the attention of each query must sum to one; that of {name} does not: it has a sink"
            continue
        # Of two tokens a decoder's classifier reads the second, so all rows change where the values are known.
        turn = _but_second if each.values is None else partial(torch.roll, dims=-1)
        for shifts in (1, 2, 3):  # in half precision the logits of one other map can be the same by chance
            with observing(model, {each.block.module: partial(turn, shifts=shifts)}) as observe:
                other, after = observe(**inputs)
            if is_heard := not has_output(each.block) or differ(compared(other), compared(output)):
                break
        context = next(one.context for one in after if one.block.name == name)
        apart = (context - each.context).abs().amax(dim=(0, 2, 3)) / each.context.abs().max()
        # Where the map is but a factor of what the kernel computes with, its other rows change the second query too.
        if each.values is None and not float(apart[1:2].sum()) <= TOLERANCE < float(apart.max()):
            faults[name] = f"a row of a map must be of one query; that of {name} changes what other queries get"
        elif not is_heard:
            faults[name] = f"another attention map must change the output; that of {name} does not"
    return faults


def _but_second(map: Tensor, shifts: int) -> Tensor:
    """Another map for all queries but the second."""
    return torch.where(torch.arange(map.shape[-2], device=map.device)[:, None] == 1, map, map.roll(shifts, dims=-1))


@contextmanager
def observing_proved(
    model: nn.Module, example: Mapping[str, Any]
) -> Iterator[tuple[Callable[..., list[Attention]], dict[str, str]]]:
    """As `observing`, in evaluation mode, without maps that `unproved_maps` refuses on an example; and what it says."""
    with evaluating(model):
        faults = unproved_maps(model, example)
        with observing(model) as observe:

            def observe_proved(**inputs: Any) -> list[Attention]:
                return [replace(each, map=None) if each.block.name in faults else each for each in observe(**inputs)[1]]

            yield observe_proved, faults
