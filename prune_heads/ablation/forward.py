"""Many masks in one forward pass, sharing all that lies below the first gated layer.

The model's own forward runs. For masks whose first gated layer is l, the layers below l (and the embeddings) hand
back what they computed once for the batch, and so does the attention of layer l up to W_O, where its context is
multiplied by the gates of every mask; from there on a row of the batch is one (mask, example). The arithmetic is that
of `gated`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from prune_heads.ablation.readout import ReadOut
from prune_heads.anatomy import AttentionBlock
from prune_heads.objectives.base import read_off
from prune_heads.objectives.batches import repeat


@dataclass
class Recording:
    """One batch without gates: its outputs, and what each layer was given."""

    inputs: Mapping[str, Any]
    outputs: Any = None
    """The tensors that are read, by name, `(rows, ...)` each."""
    embedded: Any = None
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


@dataclass(frozen=True)
class VariantForward:
    """How a model runs many masks at once, as `plan` has found and proved it."""

    model: nn.Module
    blocks: Sequence[AttentionBlock]
    reads: Sequence[str]
    """Which tensors of the model's output are wanted."""
    embeddings: nn.Module | None = None
    """Whose output is the first layer's input; None: they are computed again for each mask."""
    broadcast: bool = False
    """Whether a layer takes a leading dimension (masks) from its W_O onwards, so that what it does before runs once."""
    attentions: Sequence[nn.Module] | None = None
    """Each layer's attention, whose first output is W_O's input or output; None: it runs again in every pass."""
    read_out: ReadOut | None = None
    """The one position that the classifier reads, where that is proved."""
    compiled: Sequence[Callable[..., Any]] | None = None
    """Each layer's forward, compiled; run where no head of the layer is gated."""

    def record(self, inputs: Mapping[str, Any]) -> Recording:
        """Run the batch without gates and keep what the layers were given, `(batch, tokens, width)` each."""
        recording = Recording(inputs)

        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            recording.calls.append((args, kwargs))

        def embedded(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            recording.embedded = output

        def keep_context(module: nn.Module, args: tuple[Any, ...]) -> None:
            recording.contexts.append(args[0])

        def keep_attended(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            recording.attended.append(output)

        with ExitStack() as hooks:
            for block in self.blocks:
                hooks.callback(block.layer_module.register_forward_pre_hook(keep, with_kwargs=True).remove)
                hooks.callback(block.output.module.register_forward_pre_hook(keep_context).remove)
            for attention in self.attentions or ():
                hooks.callback(attention.register_forward_hook(keep_attended).remove)
            if self.embeddings is not None:
                hooks.callback(self.embeddings.register_forward_hook(embedded).remove)
            recording.outputs = SimpleNamespace(**read_off(self.model(**inputs), self.reads))
        return recording

    def outputs(self, recording: Recording, gates: Sequence[Tensor], first: int) -> list[Any]:
        """The outputs of the recorded batch under many masks.

        Args:
            recording: Of the batch.
            gates: A tensor a block, `(n_masks, n_heads)`; all 1 for the blocks below `first`.
            first: The first gated block.

        Returns:
            Of each mask what `Recording.outputs` is without.
        """
        n_masks = len(gates[0])
        rows = {name: repeat(value, n_masks) for name, value in recording.inputs.items()}
        n_rows = recording.n_rows
        with ExitStack() as stack:
            if self.embeddings is not None:
                shape_only = tree_map_only(
                    Tensor, lambda x: x[:1].expand(n_masks * n_rows, *x.shape[1:]), recording.embedded
                )
                stack.enter_context(_forward(self.embeddings, lambda *a, **k: shape_only))
            for block, (args, kwargs) in zip(self.blocks[:first], recording.calls, strict=False):
                hidden = args[0] if args else next(iter(kwargs.values()))
                stack.enter_context(_forward(block.layer_module, lambda *a, _h=hidden, **k: _h))
            stack.enter_context(self._branch(recording, gates[first], first, rows))
            for i in range(first + 1, len(self.blocks)):
                per_row = gates[i].repeat_interleave(n_rows, dim=0)[:, None]
                closed = bool((gates[i] != 1).any())
                if i == len(self.blocks) - 1 and self.read_out is not None:
                    stack.enter_context(_last(self.read_out, per_row if closed else None, rows))
                elif closed:
                    stack.enter_context(_gated(self.blocks[i], per_row))
                elif self.compiled is not None:
                    stack.enter_context(_forward(self.blocks[i].layer_module, self.compiled[i]))
            found = {name: x.split(n_rows) for name, x in read_off(self.model(**rows), self.reads).items()}
        return [SimpleNamespace(**{name: x[i] for name, x in found.items()}) for i in range(n_masks)]

    def _branch(
        self, recording: Recording, gates: Tensor, first: int, rows: Mapping[str, Any]
    ) -> AbstractContextManager[None]:
        """Layer `first`: from the recorded input of the batch to one row a (mask, example)."""
        block = self.blocks[first]
        n_masks = len(gates)
        args, kwargs = recording.calls[first]
        n_rows = recording.n_rows
        original = block.layer_module.forward
        read_out = self.read_out if first == len(self.blocks) - 1 else None

        def forward(*_: Any, **__: Any) -> Any:
            if self.broadcast:
                wide = gates[:, None, None]  # masks, batch, tokens, heads
                given, named, inputs = args, kwargs, recording.inputs
            else:
                wide = gates.repeat_interleave(n_rows, dim=0)[:, None]
                given, named = _repeat_all((args, kwargs), n_masks, n_rows)
                inputs = rows
            if read_out is not None:
                output = read_out.run(original, given, named, inputs, wide)
            else:
                with self._attended(recording, first, n_masks), _gated(block, wide):
                    output = original(*given, **named)
            if self.broadcast:
                output = tree_map_only(Tensor, lambda x: x.flatten(0, 1), output)
            return output

        return _forward(block.layer_module, forward)

    def _attended(self, recording: Recording, i: int, n_masks: int) -> AbstractContextManager[None]:
        """Layer i's attention hands back what it computed for the batch; W_O, where it is inside, runs again."""
        if self.attentions is None:
            return nullcontext()
        attended, context = recording.attended[i], recording.contexts[i]
        ends_before = _first_output(attended) is context
        if not self.broadcast:
            attended, context = _repeat_all((attended, context), n_masks, recording.n_rows)

        def forward(*_: Any, **__: Any) -> Any:
            if ends_before:
                return attended
            output = self.blocks[i].output.module(context)
            return output if isinstance(attended, Tensor) else (output, *attended[1:])

        return _forward(self.attentions[i], forward)


def _first_output(output: Any) -> Any:
    return output if isinstance(output, Tensor) else output[0]


def _last(read_out: ReadOut, gates: Tensor | None, rows: Mapping[str, Any]) -> AbstractContextManager[None]:
    """The last layer for the position that is read, given what the layer below gave."""
    layer = read_out.block.layer_module
    original = layer.forward
    return _forward(layer, lambda *args, **kwargs: read_out.run(original, args, kwargs, rows, gates))


@contextmanager
def _forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
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


@contextmanager
def _gated(block: AttentionBlock, gates: Tensor) -> Iterator[None]:
    """Multiply the heads at W_O's input by gates that broadcast against `(batch, tokens, n_heads)`."""

    def gate(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (block.gated(args[0], gates), *args[1:])

    handle = block.output.module.register_forward_pre_hook(gate)
    try:
        yield
    finally:
        handle.remove()


def _repeat_all(values: Any, n_masks: int, n_rows: int) -> Any:
    return tree_map_only(Tensor, lambda x: repeat(x, n_masks) if x.ndim and len(x) == n_rows else x, values)
