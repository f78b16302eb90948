"""Many masks in one forward pass, sharing all that lies below the first gated layer.

The model's own forward runs, a row of its batch being one (mask, example). For masks whose first gated layer is l, the
layers below l hand back what they computed once for the batch, and so does the attention of layer l up to W_O, where
its context is multiplied by the gates of every mask. The arithmetic is that of `gated`.

Where a classifier reads one position, as BERT and its kin do, the last layer's queries, W_O and feed-forward are needed
for it only. Its keys and values need not be computed: with x_t the attention's input at token t, and for each head h,

    q_h . (W_K,h x_t + b_K,h)        = (W_K,h^T q_h) . x_t + constant over t, which softmax does not see
    sum_t p_t (W_V,h x_t + b_V,h)    = W_V,h (sum_t p_t x_t) + b_V,h, since sum_t p_t = 1

so both are a product with x, of n_heads rows instead of `tokens`. The rest is the layer's own forward on one token.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.hooks import RemovableHandle

from prune_heads.anatomy import AttentionBlock, attention_blocks, put
from prune_heads.errors import PruneHeadsError, first_line
from prune_heads.gating import Instead
from prune_heads.objectives.base import read_off

Position = Literal["first", "last"]  # the first token, or the last that is not padding

Forward = Callable[..., Any]
Gates = tuple[Tensor, Tensor | None]  # and what stands in, as `AttentionBlock.gated` takes both


@dataclass(frozen=True)
class Plan:
    """What can be shared, by module names, so that it holds for the model in any precision."""

    position: Position | None  # of the one token that the classifier reads; None: it reads more, or nothing is proved
    norm: str | None  # between the last layer's input and its attention, where there is one
    attentions: tuple[str, ...] | None
    """Of each layer, the module whose first output is W_O's input or output; None: it runs again for every mask."""


class Call(NamedTuple):
    """What a module was given and gave."""

    given: Any
    """The first argument: of a layer the hidden states, of W_O the context `(batch, tokens, n_heads * head_dim)`."""
    output: Any
    gave: Any  # the output, or the first of several


@contextmanager
def watched(modules: Iterable[nn.Module]) -> Iterator[dict[nn.Module, Call]]:
    """The last call of each module in the block, in the order in which they end."""
    calls: dict[nn.Module, Call] = {}

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.pop(module, None)
        given = args[0] if args else next(iter(kwargs.values()), None)
        calls[module] = Call(given, output, output[0] if isinstance(output, tuple) else output)

    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_hook(keep, with_kwargs=True))
        yield calls


class Recording(NamedTuple):
    """One batch without gates."""

    inputs: Mapping[str, Any]
    outputs: Any  # the tensors that are read, by name, `(rows, ...)` each
    calls: Mapping[nn.Module, Call]  # of each layer, its W_O, and what the plan names
    instead: Instead = None  # what stands in for the heads of each block; see `gated`


class VariantForward:
    """A model of which some outputs are wanted, under many masks at once, as `plan` has found and proved it."""

    def __init__(self, plan: Plan, model: nn.Module, reads: Sequence[str] = ("logits",)) -> None:
        self.plan, self.model, self.reads, self.blocks = plan, model, reads, attention_blocks(model)
        self.norm = nn.Identity() if plan.norm is None else model.get_submodule(plan.norm)
        self.attentions = [model.get_submodule(name) for name in plan.attentions or ()]
        self.compiled: Sequence[Forward] | None = None  # of each layer; run where none of its heads is gated

    def record(self, inputs: Mapping[str, Any], instead: Instead = None) -> Recording:
        """Run the batch without gates and keep what the layers were given, `(batch, tokens, width)` each."""
        of_blocks = [module for block in self.blocks for module in (block.layer_module, block.output.module)]
        with watched([*of_blocks, *self.attentions]) as calls:
            outputs = SimpleNamespace(**read_off(self.model(**inputs), self.reads))
        return Recording(inputs, outputs, calls, instead)

    def outputs(self, recording: Recording, gates: Sequence[Tensor], first: int) -> list[Any]:
        """The outputs of the recorded batch under many masks.

        Args:
            recording: Of the batch.
            gates: A tensor a block, `(n_masks, n_heads)`; all 1 for the blocks below `first`.
            first: The first gated block.

        Returns:
            Of each mask what `Recording.outputs` is without.
        """
        n_masks, n_rows = len(gates[0]), len(next(iter(recording.inputs.values())))
        of_rows = [gate.repeat_interleave(n_rows, dim=0) for gate in gates]
        found = self.of_rows(recording, of_rows, first, torch.arange(n_rows, device=gates[0].device).repeat(n_masks))
        split = {name: x.split(n_rows) for name, x in vars(found).items()}
        return [SimpleNamespace(**{name: x[i] for name, x in split.items()}) for i in range(n_masks)]

    def of_rows(self, recording: Recording, gates: Sequence[Tensor], first: int, taken: Tensor) -> Any:
        """What `Recording.outputs` is, of rows `taken`, `(n,)`, of the recorded batch, each with gates of its own.

        The gates are `(n, n_heads)` a block. `first` is the number of blocks where none is gated.
        """
        n_rows, calls = len(next(iter(recording.inputs.values()))), recording.calls
        rows = {name: x[taken] if isinstance(x, Tensor) else x for name, x in recording.inputs.items()}

        def for_all(values: Any) -> Any:
            """Tensors of the recorded batch, for the rows that are taken."""
            return tree_map_only(Tensor, lambda x: x[taken] if x.ndim and len(x) == n_rows else x, values)

        def attention(*_: Any, **__: Any) -> Any:
            """Of the first gated layer, what it computed for the batch; W_O, where it is inside, runs again."""
            attended, output = calls[self.attentions[first]], self.blocks[first].output.module
            if attended.gave is calls[output].given:
                return for_all(attended.output)
            again = output(for_all(calls[output].given))
            return (again, *for_all(attended.output[1:])) if isinstance(attended.output, tuple) else again

        with ExitStack() as stack:
            for layer in [block.layer_module for block in self.blocks[:first]]:
                stack.callback(put(vars(layer), "forward", lambda *_, layer=layer, **__: for_all(calls[layer].output)))
            for i, block in enumerate(self.blocks[first:], first):
                layer, of_rows = block.layer_module, gates[i][:, None]
                other = None if recording.instead is None else recording.instead[i]
                gate: Gates = of_rows, other[taken] if other is not None and other.ndim == 3 else other
                if block is self.blocks[-1] and self.plan.position is not None:
                    context = for_all(calls[block.output.module].given) if i == first else None
                    at = partial(self._at_position, rows, context, gate, layer.forward)
                    stack.callback(put(vars(layer), "forward", at))
                elif (gates[i] != 1).any():
                    stack.enter_context(_gated(block, gate))
                    if i == first and self.attentions:
                        stack.callback(put(vars(self.attentions[i]), "forward", attention))
                elif self.compiled is not None:
                    stack.callback(put(vars(layer), "forward", self.compiled[i]))
            return SimpleNamespace(**read_off(self.model(**rows), self.reads))

    def _at_position(
        self, rows: Mapping[str, Any], context: Tensor | None, gates: Gates, layer: Forward, *args: Any, **kwargs: Any
    ) -> Any:
        """The last layer's output: right at the position that is read, and the same at all others.

        `rows` are the model's inputs, `context` that of W_O for all tokens, where it was recorded; the gates broadcast
        against `(batch, 1, n_heads)`, and what stands in is for all tokens. Then come the layer's own forward and its
        arguments, the hidden states first.
        """
        assert self.plan.position is not None
        block = self.blocks[-1]
        name = None if args else next(iter(kwargs))
        hidden: Tensor = args[0] if name is None else kwargs[name]
        n_tokens = hidden.shape[1]
        index = position_index(self.plan.position, rows, *hidden.shape[:2]).to(hidden.device)
        row = torch.arange(len(hidden), device=hidden.device)
        own = hidden[row, index][:, None]
        if context is None:
            context = _context(block, self.norm(own), self.norm(hidden), rows.get("attention_mask"))
        else:
            context = context[row, index][:, None]
        opened, instead = gates
        if instead is not None and instead.ndim > 1:
            instead = instead[index.clamp(max=len(instead) - 1) if instead.ndim == 2 else (row, index)][:, None]
        context = block.gated(context, opened, instead)

        def one_token(value: Tensor) -> Tensor:
            where = [slice(1) if i and size == n_tokens else slice(None) for i, size in enumerate(value.shape)]
            return value[tuple(where)]

        rest, named = tree_map_only(Tensor, one_token, (args[1:], kwargs))
        with block.output.module.register_forward_pre_hook(lambda module, args: (context, *args[1:])):
            output = layer(own, *rest, **named) if name is None else layer(**{**named, name: own})
        return tree_map_only(
            Tensor, lambda x: x.expand(*x.shape[:-2], n_tokens, x.shape[-1]) if x.shape[-2] == 1 else x, output
        )


def _context(block: AttentionBlock, own: Tensor, x: Tensor, padding: Tensor | None) -> Tensor:
    """`(batch, 1, n_heads * head_dim)`: what the heads read at the position; `own` is x there."""
    heads = (block.n_heads, block.head_dim)
    query = block.query.module(own)[:, 0].unflatten(-1, heads) * block.head_dim**-0.5
    key = block.key.weight.unflatten(0, heads)
    scores = torch.einsum("bhk,hkd->bhd", query, key) @ x.transpose(1, 2)
    if padding is not None:
        scores = scores.masked_fill(padding[:, None] == 0, -torch.inf)
    mixed = scores.softmax(dim=-1, dtype=torch.float32).to(x.dtype) @ x
    context = torch.einsum("bhd,hkd->bhk", mixed, block.value.weight.unflatten(0, heads)).flatten(-2)
    return (context if block.value.bias is None else context + block.value.bias)[:, None]


def position_index(position: Position, inputs: Mapping[str, Any], n_rows: int, n_tokens: int) -> Tensor:
    """`(n_rows,)`: the place of the position in each row."""
    if position == "first":
        return torch.zeros(n_rows, dtype=torch.long)
    padding = inputs.get("attention_mask", torch.ones(n_rows, n_tokens))
    return (padding * torch.arange(n_tokens, device=padding.device)).argmax(dim=1)


def _gated(block: AttentionBlock, gate: Gates) -> RemovableHandle:
    """Multiplies the heads at W_O's input by gates that broadcast against `(batch, tokens, n_heads)`."""
    return block.output.module.register_forward_pre_hook(lambda module, args: (block.gated(args[0], *gate), *args[1:]))


def with_compiled_layers(forward: VariantForward) -> VariantForward:
    """The same forward with each layer compiled by torch.compile on its first call.

    The weights are packed for the machine, element-wise steps fused. The weights are taken as constants (`freezing`),
    so the model must not change while it is used.
    """

    def compiled(layer: nn.Module) -> Forward:
        run = torch.compile(layer.forward, dynamic=True, options={"freezing": True})

        def call(*args: Any, **kwargs: Any) -> Any:
            # All layers share one code object, by which torch counts compilations: 8 is its own default for a function.
            with (
                torch.compiler.set_stance("default"),  # the model around the layers runs as it is written
                torch._dynamo.config.patch(recompile_limit=8 * len(forward.blocks)),
            ):
                try:
                    return run(*args, **kwargs)
                except torch._dynamo.exc.TorchDynamoException as error:
                    needs = f"a C++ compiler (g++ or clang) that torch can call; got: {first_line(error)}"
                    raise PruneHeadsError(f"--compile needs {needs}. Leave the option out, or install one") from error

        return call

    forward.compiled = [compiled(block.layer_module) for block in forward.blocks]
    return forward
