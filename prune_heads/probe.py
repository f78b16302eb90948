"""Proof that a mask is applied: close each block's gates and see the output change.

transformers 5 accepts `head_mask` and `config.pruned_heads` and ignores them without a word, so scripts that
rely on them report that no head matters. Every command that masks runs this probe first.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from prune_heads.anatomy import AttentionBlock, attention_blocks
from prune_heads.anatomy.context import uncompiled
from prune_heads.errors import MaskNotAppliedError, NotFiniteError, UnsupportedModelError
from prune_heads.gating import gated, gates_of


@torch.no_grad()
def prove_gates(model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Check that gates of 1 change nothing and that gates of 0 change the output, block by block.

    One forward pass a block, and two without closed gates. All have the same shape, so that any difference is the
    gates' doing and not rounding. `nn.MultiheadAttention` is not asked for the first, since its fast path rounds
    otherwise. In reduced precision the output for an example may be too coarse to show the part of a block; then a
    transformers model is asked the next example.

    Args:
        model: In evaluation mode. What is compared is `logits`, where its output has them; else every floating-point
            tensor of its output: a tensor, a tuple, a dict or an object that holds some.
        inputs: A tokenised batch; one example is enough in float32.

    Raises:
        MaskNotAppliedError: Naming the blocks whose gates do nothing. Blocks without heads, or whose heads
            have all been zeroed, are not asked.
        NotFiniteError: If a number of the output is NaN or infinite, so that nothing can be proved.
        UnsupportedModelError: If the output holds no floating-point tensor.
    """
    blocks = attention_blocks(model)
    deaf = {i for i, block in enumerate(blocks) if _has_output(block)}
    gates = gates_of(model, {})

    def run(example: Mapping[str, Any], closed: int | None = None) -> list[Tensor]:
        with gated(model, [gate * (i != closed) for i, gate in enumerate(gates)]):
            return compared(model(**example))

    for example in _examples(model, inputs):
        reference = run(example)
        if any(block.layout.context == "multihead" for block in blocks):
            again = run(example)
        else:
            with uncompiled():
                again = compared(model(**example))
        if not all(tensor.isfinite().all() for tensor in reference):
            raise NotFiniteError(
                "logits must be finite; got NaN or infinity for the first example. Try --dtype float32, and check "
                "the checkpoint's weights"
            )
        if _differ(again, reference):
            raise MaskNotAppliedError(
                "gates of 1 must leave the logits as they are, bit for bit, but they changed: the model is not "
                "deterministic (is it in training mode?)"
            )
        deaf -= {i for i in deaf if _differ(run(example, i), reference)}
        if not deaf:
            return
    names = ", ".join(blocks[i].name for i in sorted(deaf))
    dtype = next(model.parameters()).dtype
    coarse = "" if dtype == torch.float32 else f", or {dtype} is too coarse: try --dtype float32"
    raise MaskNotAppliedError(
        f"closing the gates of a block must change the logits, but it does not for {names}: "
        f"masks are not applied in this model, so nothing is reported. The model's code may bypass its W_O{coarse}"
    )


def _examples(model: nn.Module, inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """One example after the other; all at once for a model outside transformers, whose batch may be any dimension."""
    config = getattr(model, "config", None)
    # Of labels an encoder-decoder makes what its decoder is given, where that is not said.
    makes_inputs = getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" not in inputs
    given = {name: value for name, value in inputs.items() if name != "labels" or makes_inputs}
    if not isinstance(config, PreTrainedConfig):
        yield given
        return
    n_examples = len(next(value for value in given.values() if isinstance(value, Tensor)))
    rows = {name for name, x in given.items() if isinstance(x, Tensor) and x.ndim and len(x) == n_examples}
    for i in range(n_examples):
        yield {name: value[i : i + 1] if name in rows else value for name, value in given.items()}


def compared(output: Any) -> list[Tensor]:
    """The tensors of a model's output that are compared."""
    logits = getattr(output, "logits", None)
    if tensors := list(_floats(output if logits is None else logits, set())):
        return tensors
    raise UnsupportedModelError(
        f"the output of a model must hold floating-point tensors to be compared; got {type(output).__name__}"
    )


def _floats(thing: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        if thing.is_floating_point():
            yield thing
    elif id(thing) not in seen:
        seen.add(id(thing))
        if isinstance(thing, Mapping):
            parts = list(thing.values())
        elif isinstance(thing, tuple | list):
            parts = list(thing)
        else:
            names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
            parts = [getattr(thing, name, None) for name in names]
        for part in parts:
            yield from _floats(part, seen)


def apart(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The largest difference, as a share of the largest value of `b` or of 1; infinite for other shapes."""
    if [x.shape for x in a] != [y.shape for y in b]:
        return float("inf")
    scale = max(1.0, *(float(y.abs().max()) for y in b))
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True)) / scale


def _differ(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) != len(b) or any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _has_output(block: AttentionBlock) -> bool:
    """False if the block's heads give zero for any input: W_O, or W_V and its bias, are zero."""
    if block.output.weight.is_meta or block.value.weight.is_meta:
        return True  # offloaded; whether they are zero is not known
    value_is_dead = not block.value.weight.any() and (block.value.bias is None or not block.value.bias.any())
    return bool(block.output.weight.any()) and not value_is_dead
