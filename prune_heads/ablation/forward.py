"""Many masks in one forward pass, sharing all that lies below the first gated layer.

The model's own forward runs. For masks whose first gated layer is l, the layers below l (and the embeddings) hand
back what they computed once for the batch, and so does the attention of layer l up to W_O, where its context is
multiplied by the gates of every mask; from there on a row of the batch is one (mask, example). The arithmetic is that
of `gated`.

Where a classifier reads one position, as BERT and its kin do, the last layer's queries, W_O and feed-forward are needed
for it only. Its keys and values need not be computed either: with x_t the attention's input at token t, and for
each head h,

    q_h . (W_K,h x_t + b_K,h)        = (W_K,h^T q_h) . x_t + constant over t, which softmax does not see
    sum_t p_t (W_V,h x_t + b_V,h)    = W_V,h (sum_t p_t x_t) + b_V,h, since sum_t p_t = 1

so both are a product with x, of n_heads rows instead of `tokens`. Everything after the attention is the layer's own
forward on one token.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torch.utils.hooks import RemovableHandle

from prune_heads.anatomy import AttentionBlock, attention_blocks
from prune_heads.errors import PruneHeadsError, first_line
from prune_heads.objectives.base import read_off
from prune_heads.objectives.batches import repeat

Position = Literal["first", "last"]
"""The first token, or the last that is not padding."""

Forward = Callable[..., Any]

_SHAPES = 8
"""Times that a layer may be compiled anew for other shapes, torch's own default for a function."""


@dataclass(frozen=True)
class Plan:
    """What can be shared, by module names, so that it holds for the model in any precision."""

    embeddings: str | None
    """Whose output is the first layer's input; None: they are computed again for each mask."""
    broadcast: bool
    """Whether a layer takes a leading dimension (masks) from its W_O onwards, so that what it does before runs once."""
    position: Position | None
    """Of the one token that the classifier reads; None: it reads more, or nothing could be proved."""
    norm: str | None
    """Between the last layer's input and its attention, where there is one."""
    attentions: tuple[str, ...] | None
    """Of each layer, the module whose first output is W_O's input or output; None: it runs again in every pass."""

    def forward(self, model: nn.Module, reads: Sequence[str] = ("logits",)) -> "VariantForward":
        """The plan, applied to a model of whose output some tensors are wanted."""
        return VariantForward(self, model, reads)


@dataclass
class Recording:
    """One batch without gates: its outputs, and what each layer was given."""

    inputs: Mapping[str, Any]
    outputs: Any = None
    """The tensors that are read, by name, `(rows, ...)` each."""
    embedded: list[Any] = field(default_factory=list)
    """What the embeddings gave, when it is known which module they are."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    """Arguments of each layer, by position and by name; of both, the first is the hidden states."""
    contexts: list[Tensor] = field(default_factory=list)
    """What each layer's W_O was given, `(batch, tokens, n_heads * head_dim)`."""
    attended: list[Any] = field(default_factory=list)
    """What each layer's attention gave, when it is known which module that is."""

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return len(next(iter(self.inputs.values())))


class VariantForward:
    """A model that runs many masks at once, as `plan` has found and proved it."""

    def __init__(self, plan: Plan, model: nn.Module, reads: Sequence[str]) -> None:
        """For a model of which some tensors of the output are wanted."""
        self.plan, self.model, self.reads, self.blocks = plan, model, reads, attention_blocks(model)
        self.embeddings = None if plan.embeddings is None else model.get_submodule(plan.embeddings)
        self.norm = nn.Identity() if plan.norm is None else model.get_submodule(plan.norm)
        self.attentions = [model.get_submodule(name) for name in plan.attentions or ()]
        self.compiled: Sequence[Forward] | None = None
        """Each layer's forward, compiled; run where no head of the layer is gated."""

    def record(self, inputs: Mapping[str, Any]) -> Recording:
        """Run the batch without gates and keep what the layers were given, `(batch, tokens, width)` each."""
        kept = Recording(inputs)

        def keep_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kept.calls.append((args, kwargs))

        with ExitStack() as hooks:
            for block in self.blocks:
                hooks.enter_context(block.layer_module.register_forward_pre_hook(keep_call, with_kwargs=True))
                output = block.output.module
                hooks.enter_context(output.register_forward_pre_hook(lambda _, args: kept.contexts.append(args[0])))
            for attention in self.attentions:
                hooks.enter_context(attention.register_forward_hook(lambda module, args, x: kept.attended.append(x)))
            if self.embeddings is not None:
                hook = self.embeddings.register_forward_hook(lambda module, args, x: kept.embedded.append(x))
                hooks.enter_context(hook)
            kept.outputs = SimpleNamespace(**read_off(self.model(**inputs), self.reads))
        return kept

    def outputs(self, recording: Recording, gates: Sequence[Tensor], first: int) -> list[Any]:
        """The outputs of the recorded batch under many masks.

        Args:
            recording: Of the batch.
            gates: A tensor a block, `(n_masks, n_heads)`; all 1 for the blocks below `first`.
            first: The first gated block.

        Returns:
            Of each mask what `Recording.outputs` is without.
        """
        n_masks, n_rows, last = len(gates[0]), recording.n_rows, len(self.blocks) - 1
        rows = {name: repeat(value, n_masks) for name, value in recording.inputs.items()}
        with ExitStack() as stack:
            if self.embeddings is not None:
                shape_only = tree_map_only(
                    Tensor, lambda x: x[:1].expand(n_masks * n_rows, *x.shape[1:]), recording.embedded[-1]
                )
                stack.enter_context(_forward(self.embeddings, lambda *_, **__: shape_only))
            for block, (args, kwargs) in zip(self.blocks[:first], recording.calls, strict=False):
                hidden = args[0] if args else next(iter(kwargs.values()))
                stack.enter_context(_forward(block.layer_module, lambda *_, hidden=hidden, **__: hidden))
            for i, block in enumerate(self.blocks[first:], first):
                layer = block.layer_module
                per_row = gates[i].repeat_interleave(n_rows, dim=0)[:, None]
                closed = bool((gates[i] != 1).any())
                if i == first:
                    stack.enter_context(_forward(layer, self._branch(recording, gates[i], first, rows)))
                elif i == last and self.plan.position is not None:
                    at = partial(self._at_position, rows, per_row if closed else None, layer.forward)
                    stack.enter_context(_forward(layer, at))
                elif closed:
                    stack.enter_context(_gated(block, per_row))
                elif self.compiled is not None:
                    stack.enter_context(_forward(layer, self.compiled[i]))
            found = {name: x.split(n_rows) for name, x in read_off(self.model(**rows), self.reads).items()}
        return [SimpleNamespace(**{name: x[i] for name, x in found.items()}) for i in range(n_masks)]

    def _branch(self, recording: Recording, gates: Tensor, first: int, rows: Mapping[str, Any]) -> Forward:
        """Layer `first`: from the recorded input of the batch to one row a (mask, example)."""
        block, original = self.blocks[first], self.blocks[first].layer_module.forward
        n_masks, n_rows = len(gates), recording.n_rows

        def wide(values: Any) -> Any:
            """The recorded tensors for all masks: as they are where masks are a dimension of their own."""
            if self.plan.broadcast:
                return values
            return tree_map_only(Tensor, lambda x: repeat(x, n_masks) if x.ndim and len(x) == n_rows else x, values)

        def attention(*_: Any, **__: Any) -> Any:
            """What it computed for the batch; W_O, where it is inside, runs again."""
            attended, context = recording.attended[first], recording.contexts[first]
            output = attended if isinstance(attended, Tensor) else attended[0]
            if output is context:
                return wide(attended)
            output = block.output.module(wide(context))
            return output if isinstance(attended, Tensor) else (output, *wide(attended[1:]))

        def forward(*_: Any, **__: Any) -> Any:
            # (masks, batch, tokens, heads), or a row a (mask, example)
            closed = gates[:, None, None] if self.plan.broadcast else gates.repeat_interleave(n_rows, dim=0)[:, None]
            args, kwargs = wide(recording.calls[first])
            with ExitStack() as stack:
                if first == len(self.blocks) - 1 and self.plan.position is not None:
                    inputs = recording.inputs if self.plan.broadcast else rows
                    output = self._at_position(inputs, closed, original, *args, **kwargs)
                else:
                    if self.attentions:
                        stack.enter_context(_forward(self.attentions[first], attention))
                    stack.enter_context(_gated(block, closed))
                    output = original(*args, **kwargs)
            return tree_map_only(Tensor, lambda x: x.flatten(0, 1), output) if self.plan.broadcast else output

        return forward

    def _at_position(
        self, inputs: Mapping[str, Any], gates: Tensor | None, forward: Forward, *args: Any, **kwargs: Any
    ) -> Any:
        """The last layer's output: right at the position that is read, and the same at all others.

        Args:
            inputs: Of the model, for the padding; `(batch, tokens)` each.
            gates: Broadcast against `(batch, 1, n_heads)`; None for open gates. A leading dimension is kept.
            forward: The layer's own.
            args: Its arguments by position, the hidden states `(batch, tokens, width)` first, here or by name.
            kwargs: Its arguments by name.
        """
        assert self.plan.position is not None
        block = self.blocks[-1]
        name = None if args else next(iter(kwargs))
        hidden: Tensor = args[0] if name is None else kwargs[name]
        n_tokens = hidden.shape[1]
        index = position_index(self.plan.position, inputs, *hidden.shape[:2]).to(hidden.device)
        own = hidden[torch.arange(len(hidden), device=hidden.device), index][:, None]
        context = _context(block, self.norm(own), self.norm(hidden), inputs.get("attention_mask"))
        if gates is not None:
            context = block.gated(context, gates)

        def one_token(value: Tensor) -> Tensor:
            where = [slice(1) if i and size == n_tokens else slice(None) for i, size in enumerate(value.shape)]
            return value[tuple(where)]

        rest, named = tree_map_only(Tensor, one_token, (args[1:], kwargs))
        with block.output.module.register_forward_pre_hook(lambda module, args: (context, *args[1:])):
            output = forward(own, *rest, **named) if name is None else forward(**{**named, name: own})
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
    if block.value.bias is not None:
        context = context + block.value.bias
    return context[:, None]


def position_index(position: Position, inputs: Mapping[str, Any], n_rows: int, n_tokens: int) -> Tensor:
    """`(n_rows,)`: the place of the position in each row."""
    if position == "first":
        return torch.zeros(n_rows, dtype=torch.long)
    padding = inputs.get("attention_mask", torch.ones(n_rows, n_tokens))
    return (padding * torch.arange(n_tokens, device=padding.device)).argmax(dim=1)


@contextmanager
def _forward(module: nn.Module, forward: Forward) -> Iterator[None]:
    """Another forward for a module, for the length of the block."""
    own = vars(module).get("forward")  # somebody's, on this very object
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _gated(block: AttentionBlock, gates: Tensor) -> RemovableHandle:
    """Multiplies the heads at W_O's input by gates that broadcast against `(batch, tokens, n_heads)`."""
    return block.output.module.register_forward_pre_hook(lambda module, args: (block.gated(args[0], gates), *args[1:]))


def with_compiled_layers(forward: VariantForward) -> VariantForward:
    """The same forward with each layer compiled by torch.compile on its first call.

    The weights are packed for the machine, element-wise steps fused. The weights are taken as constants (`freezing`),
    so the model must not change while it is used.
    """

    def compiled(layer: nn.Module) -> Forward:
        run = torch.compile(layer.forward, dynamic=True, options={"freezing": True})

        def call(*args: Any, **kwargs: Any) -> Any:
            # All layers share one code object, and torch counts compilations by that.
            with (
                torch.compiler.set_stance("default"),  # the model around the layers runs as it is written
                torch._dynamo.config.patch(recompile_limit=_SHAPES * len(forward.blocks)),
            ):
                try:
                    return run(*args, **kwargs)
                except torch._dynamo.exc.TorchDynamoException as error:
                    raise PruneHeadsError(
                        f"--compile needs a C++ compiler (g++ or clang) that torch can call; got: {first_line(error)}. "
                        "Leave the option out, or install one"
                    ) from error

        return call

    forward.compiled = [compiled(block.layer_module) for block in forward.blocks]
    return forward
