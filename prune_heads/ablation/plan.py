"""How a model can run many masks at once: looked for in its structure, proved on a batch, never assumed.

The proof runs in float32 on some examples: the logits under masks whose first gated layer is the first, the middle
and the last one, against `gated` one mask at a time. A gain that is not proved is not taken.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.ablation.forward import VariantForward
from prune_heads.ablation.readout import Position, ReadOut, position_index
from prune_heads.anatomy import AttentionBlock, attention_blocks
from prune_heads.anatomy.context import uncompiled
from prune_heads.gating import gated
from prune_heads.objectives.base import read_off

TOLERANCE = 1e-5
"""How far logits may be from those of one masked evaluation at a time, in float32.

Logits of each token, of which there are many, may be as far of the size of the largest.
"""


@dataclass(frozen=True)
class Plan:
    """What has been found, by module names, so that it holds for the model in any precision."""

    embeddings: str | None
    broadcast: bool
    position: Position | None
    """Of the one token that the classifier reads; None: it reads more, or nothing could be proved."""
    norm: str | None
    """Between the last layer's input and its attention, where there is one."""
    attentions: tuple[str, ...] | None
    """Of each layer, the module that ends just before or just after W_O."""

    def forward(self, model: nn.Module, reads: Sequence[str] = ("logits",)) -> VariantForward:
        """The plan, applied to a model."""
        blocks = attention_blocks(model)
        norm = None if self.norm is None else model.get_submodule(self.norm)
        return VariantForward(
            model,
            blocks,
            reads,
            embeddings=None if self.embeddings is None else model.get_submodule(self.embeddings),
            broadcast=self.broadcast,
            attentions=None if self.attentions is None else [model.get_submodule(a) for a in self.attentions],
            read_out=None if self.position is None else ReadOut(blocks[-1], self.position, norm),
        )


@uncompiled()
def plan(model: nn.Module, inputs: Mapping[str, Any], reads: Sequence[str] = ("logits",)) -> Plan | None:
    """The fastest way that is proved on these inputs; None when masks must be run one at a time.

    Args:
        model: In evaluation mode, in any precision.
        inputs: Some examples, best of different lengths, `(rows, tokens)` each.
        reads: Which tensors of the model's output must be the same.
    """
    if next(model.parameters()).dtype != torch.float32:
        model = copy.deepcopy(model).float()
    blocks = attention_blocks(model)
    if any(block.n_heads == 0 for block in blocks):
        return None  # W_O of an emptied layer has no input to gate
    if any(block.layout.context for block in blocks):
        return None  # W_O is not called as a module
    if len({block.layer_module for block in blocks}) < len(blocks):
        return None  # layers that share weights, or that attend twice
    checks = list(_checks(model, blocks, inputs, reads))
    for candidate in _candidates(model, blocks, inputs, reads):
        try:
            if _is_exact(candidate.forward(model, reads), inputs, checks):
                return candidate
        except Exception:  # a forward that does not take such inputs raises whatever it stumbles over
            continue
    return None


def _candidates(
    model: nn.Module, blocks: list[AttentionBlock], inputs: Mapping[str, Any], reads: Sequence[str]
) -> Iterator[Plan]:
    embeddings, norm, attends = _structure(model, blocks, inputs)
    attentions = _attentions(model, blocks, inputs)
    position = _read_position(model, blocks[-1], inputs, reads) if attends and blocks[-1].is_plain else None
    for shared in (attentions, None) if attentions else (None,):
        for one in (position, None) if position else (None,):
            for broadcast in (True, False):
                yield Plan(embeddings, broadcast, one, norm if one else None, shared)


@torch.no_grad()
def _structure(
    model: nn.Module, blocks: list[AttentionBlock], inputs: Mapping[str, Any]
) -> tuple[str | None, str | None, bool]:
    """The names of the embeddings and of the norm before the last attention; False if that sees something else."""
    gave: list[tuple[str, Any, Any]] = []
    seen: dict[str, Any] = {}

    def gives(name: str) -> Any:
        return lambda module, args, output: gave.append((name, args[0] if args else None, output))

    def sees(name: str) -> Any:
        def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[name] = args[0] if args else next(iter(kwargs.values()))

        return keep

    first, last = blocks[0].layer_module, blocks[-1].layer_module
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.callback(module.register_forward_hook(gives(name)).remove)
        for name, module in (("first", first), ("last", last), ("attention", blocks[-1].key.module)):
            hooks.callback(module.register_forward_pre_hook(sees(name), with_kwargs=True).remove)
        model(**inputs)
    embeddings = [name for name, _, output in gave if output is seen["first"]]
    norms = [name for name, given, output in gave if given is seen["last"] and output is seen["attention"]]
    attends = seen["attention"] is seen["last"] or bool(norms)
    return (embeddings[-1] if embeddings else None, norms[-1] if norms else None, attends)


@torch.no_grad()
def _attentions(model: nn.Module, blocks: list[AttentionBlock], inputs: Mapping[str, Any]) -> tuple[str, ...] | None:
    """In each layer, the name of the innermost module around W_Q, W_K and W_V that gives W_O's input or output."""
    names = {module: name for name, module in model.named_modules()}
    gave: dict[nn.Module, Any] = {}
    around_output: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        gave[module] = output[0] if isinstance(output, tuple) else output

    def keep_both(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        around_output[module] = (args[0], output)

    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.output.module.register_forward_hook(keep_both).remove)
            for module in block.layer_module.modules():
                if {p.module for p in (block.query, block.key, block.value)} <= set(module.modules()):
                    hooks.callback(module.register_forward_hook(keep).remove)
        model(**inputs)
    found = []
    for block in blocks:
        inner = [
            m for m in block.layer_module.modules() if any(gave.get(m) is x for x in around_output[block.output.module])
        ]
        if not inner:
            return None
        found.append(names[inner[-1]])
    return tuple(found)


def _read_position(
    model: nn.Module, block: AttentionBlock, inputs: Mapping[str, Any], reads: Sequence[str]
) -> Position | None:
    """The one position of the last layer's output that the outputs depend on, by their derivatives."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output if isinstance(output, Tensor) else output[0]
        kept.append(hidden.detach().requires_grad_())
        return kept[0] if isinstance(output, Tensor) else (kept[0], *output[1:])

    handle = block.layer_module.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            total = torch.stack([each.square().sum() for each in read_off(model(**inputs), reads).values()]).sum()
            (gradient,) = torch.autograd.grad(total, kept)
    finally:
        handle.remove()
    read = gradient.abs().sum(dim=-1) > 0
    rows = torch.arange(len(read), device=read.device)
    positions: tuple[Position, ...] = ("first", "last")
    for position in positions:
        if bool((read.sum(dim=1) == 1).all() and read[rows, position_index(position, inputs, *read.shape)].all()):
            return position
    return None


@torch.no_grad()
def _checks(
    model: nn.Module, blocks: list[AttentionBlock], inputs: Mapping[str, Any], reads: Sequence[str]
) -> Iterator[tuple[int, list[Tensor], list[Any]]]:
    """First gated block, gates of two masks, and the outputs one at a time."""
    device = next(model.parameters()).device
    for first in sorted({0, len(blocks) // 2, len(blocks) - 1}):
        gates = [torch.ones(2, block.n_heads, device=device) for block in blocks]
        gates[first][:, 0] = 0
        for gate in gates[first:]:
            gate[1, -1] = 0
        expected = []
        for i in range(2):
            with gated(model, [gate[i] for gate in gates]):
                expected.append(read_off(model(**inputs), reads))
        yield first, gates, expected


@torch.no_grad()
def _is_exact(
    forward: VariantForward, inputs: Mapping[str, Any], checks: list[tuple[int, list[Tensor], list[Any]]]
) -> bool:
    recording = forward.record(inputs)

    def is_near(got: Tensor, expected: Tensor) -> bool:
        size = max(1.0, float(expected.abs().max())) if expected.ndim > 2 else 1.0
        return float((got - expected).abs().max()) <= TOLERANCE * size

    return all(
        is_near(getattr(got, name), wanted[name])
        for first, gates, expected in checks
        for got, wanted in zip(forward.outputs(recording, gates, first), expected, strict=True)
        for name in forward.reads
    )
