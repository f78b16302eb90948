"""How a model can run many masks at once: looked for in its structure, proved on a batch, never assumed.

The proof runs in float32 on some examples: the logits under masks whose first gated layer is the first, the middle
and the last one, against `gated` one mask at a time. A gain that is not proved is not taken.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.ablation.forward import Plan, Position, VariantForward, position_index, watched
from prune_heads.anatomy import AttentionBlock, attention_blocks, uncompiled
from prune_heads.gating import Instead, gated
from prune_heads.objectives.base import read_off

TOLERANCE = 1e-5
"""How far logits may be from those of one masked evaluation at a time, in float32.
Logits of each token, of which there are many, may be as far of the size of the largest."""

_Check = tuple[int, list[Tensor], list[Any]]


@uncompiled()
def plan(
    model: nn.Module, inputs: Mapping[str, Any], reads: Sequence[str] = ("logits",), instead: Instead = None
) -> Plan | None:
    """The fastest way that is proved on these inputs; None when masks must be run one at a time.

    Args:
        model: In evaluation mode, in any precision.
        inputs: Some examples, best of different lengths, `(rows, tokens)` each.
        reads: Which tensors of the model's output must be the same.
        instead: What stands in for masked heads in these examples; see `gated`.
    """
    if next(model.parameters()).dtype != torch.float32:
        model = copy.deepcopy(model).float()
    blocks = attention_blocks(model)
    if any(block.n_heads == 0 or block.layout.context for block in blocks):
        return None  # W_O of an emptied layer has no input to gate, or it is not called as a module
    if len({block.layer_module for block in blocks}) < len(blocks):
        return None  # layers that share weights, or that attend twice
    checks = list(_checks(model, blocks, inputs, reads, instead))
    for candidate in _candidates(model, blocks, inputs, reads):
        with suppress(Exception):  # a forward that does not take such inputs raises whatever it stumbles over
            if _is_exact(VariantForward(candidate, model, reads), inputs, instead, checks):
                return candidate
    return None


@torch.no_grad()
def _candidates(
    model: nn.Module, blocks: list[AttentionBlock], inputs: Mapping[str, Any], reads: Sequence[str]
) -> Iterator[Plan]:
    """What can be shared, most first, by what the modules are given and give in one pass."""
    names = {module: name for name, module in model.named_modules()}
    with watched(names) as calls:
        model(**inputs)
    last, seen = calls[blocks[-1].layer_module].given, calls[blocks[-1].key.module].given
    norms = [names[module] for module, call in calls.items() if call.given is last and call.output is seen]
    attends = seen is last or norms
    position = _read_position(model, blocks[-1], inputs, reads) if attends and blocks[-1].is_plain else None
    attentions = []  # of each layer, the innermost module around W_Q, W_K and W_V that gives W_O's input or output
    for block in blocks:
        inside, own = set(block.layer_module.modules()), {p.module for p in (block.query, block.key, block.value)}
        output = calls[block.output.module]
        around = [module for module in calls if module in inside and own <= set(module.modules())]
        attentions += [names[m] for m in around if calls[m].gave is output.given or calls[m].gave is output.gave][:1]
    shared = tuple(attentions) if len(attentions) == len(blocks) else None
    for attention, one in product(dict.fromkeys([shared, None]), dict.fromkeys([position, None])):
        yield Plan(one, norms[-1] if one and norms else None, attention)


def _read_position(
    model: nn.Module, block: AttentionBlock, inputs: Mapping[str, Any], reads: Sequence[str]
) -> Position | None:
    """The one position of the last layer's output that the outputs depend on, by their derivatives."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        hidden = output if isinstance(output, Tensor) else output[0]
        kept.append(hidden.detach().requires_grad_())
        return kept[0] if isinstance(output, Tensor) else (kept[0], *output[1:])

    with block.layer_module.register_forward_hook(keep), torch.enable_grad():
        total = torch.stack([each.square().sum() for each in read_off(model(**inputs), reads).values()]).sum()
        (gradient,) = torch.autograd.grad(total, kept)
    read = gradient.abs().sum(dim=-1) > 0
    rows = torch.arange(len(read), device=read.device)
    positions: tuple[Position, ...] = ("first", "last") if bool((read.sum(dim=1) == 1).all()) else ()
    return next((each for each in positions if read[rows, position_index(each, inputs, *read.shape)].all()), None)


@torch.no_grad()
def _checks(
    model: nn.Module, blocks: list[AttentionBlock], inputs: Mapping[str, Any], reads: Sequence[str], instead: Instead
) -> Iterator[_Check]:
    """First gated block, gates of two masks, and the outputs one at a time."""
    device = next(model.parameters()).device
    for first in sorted({0, len(blocks) // 2, len(blocks) - 1}):
        gates = [torch.ones(2, block.n_heads, device=device) for block in blocks]
        gates[first][:, 0] = 0
        for gate in gates[first:]:
            gate[1, -1] = 0
        expected = []
        for i in range(2):
            with gated(model, [gate[i] for gate in gates], instead):
                expected.append(read_off(model(**inputs), reads))
        yield first, gates, expected


@torch.no_grad()
def _is_exact(forward: VariantForward, inputs: Mapping[str, Any], instead: Instead, checks: list[_Check]) -> bool:
    recording = forward.record(inputs, instead)
    for first, gates, expected in checks:
        for got, wanted in zip(forward.outputs(recording, gates, first), expected, strict=True):
            for name, tensor in wanted.items():
                size = max(1.0, float(tensor.abs().max())) if tensor.ndim > 2 else 1.0
                if not float((getattr(got, name) - tensor).abs().max()) <= TOLERANCE * size:
                    return False
    return True
