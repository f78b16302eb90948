"""The proofs: that gates are applied (`prove_gates`), and that heads may be taken away in any way (`verify`).

transformers 5 accepts `head_mask` and `config.pruned_heads` and ignores them without a word, so scripts that rely on
them report that no head matters. Every command that masks closes each block's gates first and sees the output change.
"""

import copy
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedConfig, PreTrainedModel

from prune_heads import errors
from prune_heads.anatomy import AttentionBlock, attention_blocks, head_counts, uncompiled, units
from prune_heads.checkpoints import load_pruned, save_pruned
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask, Heads, as_mask
from prune_heads.surgery import remove_heads, zero_heads

TOLERANCE = 1e-5  # how far outputs may be apart, in float32, of the largest output or of 1
Inputs = Mapping[str, Any]


@torch.no_grad()
def prove_gates(model: nn.Module, inputs: Inputs) -> None:
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
    deaf = {i for i, block in enumerate(blocks) if has_output(block)}
    has_fast_path = any(block.layout.context == "multihead" for block in blocks)
    gates = gates_of(model, {})

    def run(example: Inputs, closed: int | None = None) -> list[Tensor]:
        with gated(model, [gate * (i != closed) for i, gate in enumerate(gates)]):
            return compared(model(**example))

    for example in _examples(model, inputs):
        reference = run(example)
        with uncompiled():
            again = run(example) if has_fast_path else compared(model(**example))
        if not all(tensor.isfinite().all() for tensor in reference):
            must = "logits must be finite; got NaN or infinity for the first example"
            raise errors.NotFiniteError(f"{must}. Try --dtype float32, and check the checkpoint's weights")
        if differ(again, reference):
            must = "gates of 1 must leave the logits as they are, bit for bit, but they changed"
            raise errors.MaskNotAppliedError(f"{must}: the model is not deterministic (is it in training mode?)")
        deaf -= {i for i in deaf if differ(run(example, i), reference)}
        if not deaf:
            return
    names = ", ".join(blocks[i].name for i in sorted(deaf))
    dtype = next(model.parameters()).dtype
    coarse = "" if dtype == torch.float32 else f", or {dtype} is too coarse: try --dtype float32"
    must = f"closing the gates of a block must change the logits, but it does not for {names}"
    why = f"masks are not applied in this model, so nothing is reported. The model's code may bypass its W_O{coarse}"
    raise errors.MaskNotAppliedError(f"{must}: {why}")


def _examples(model: nn.Module, inputs: Inputs) -> Iterator[Inputs]:
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
    must = "the output of a model must hold floating-point tensors to be compared"
    raise errors.UnsupportedModelError(f"{must}; got {type(output).__name__}")


def _floats(thing: Any, seen: set[int]) -> Iterator[Tensor]:
    for leaf in tree_leaves(thing):  # of tuples, lists and dicts
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            yield leaf
        elif not isinstance(leaf, Tensor) and id(leaf) not in seen:
            seen.add(id(leaf))
            names = [*getattr(leaf, "__dict__", ()), *getattr(type(leaf), "__slots__", ())]
            yield from _floats([getattr(leaf, name, None) for name in names], seen)


def apart(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """The largest difference, as a share of the largest value of `b` or of 1; infinite for other shapes."""
    if [x.shape for x in a] != [y.shape for y in b]:
        return float("inf")
    x, y = (torch.cat([tensor.float().flatten().cpu() for tensor in tensors]) for tensors in (a, b))
    return float((x - y).abs().max() / y.abs().max().clamp(min=1))


def differ(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether outputs differ in any bit."""
    return len(a) != len(b) or any(not torch.equal(x, y) for x, y in zip(a, b, strict=True))


def has_output(block: AttentionBlock) -> bool:
    """False if the block's heads give zero for any input: W_O, or W_V and its bias, are zero."""
    if block.output.weight.is_meta or block.value.weight.is_meta:
        return True  # offloaded; whether they are zero is not known
    value_is_dead = not block.value.weight.any() and (block.value.bias is None or not block.value.bias.any())
    return bool(block.output.weight.any()) and not value_is_dead


@dataclass(frozen=True)
class Verification:
    """What came of each way to take heads away: `gate`, `zero`, `remove`, `load`."""

    heads: HeadMask  # the heads that were taken away
    differences: dict[str, float] = field(default_factory=dict)
    """How far the outputs are from those of columns of W_O zeroed by hand, as a share of the largest output or of 1;
    `TOLERANCE` at most."""
    refused: dict[str, str] = field(default_factory=dict)  # why the package refuses to do so with this model
    faults: dict[str, str] = field(default_factory=dict)
    """A wrong result, or an error that is none of the package's own; none where `verify` returns."""

    def to_json(self) -> dict[str, Any]:
        """For a record; heads as `["3:1,5", ...]`."""
        heads = {"heads": self.heads.descriptors(), "n_heads": self.heads.n_total}
        return {**heads, "differences": self.differences, "tolerance": TOLERANCE, "refused": self.refused}

    def __repr__(self) -> str:
        proved = (f"{name} ({apart:.0e})" for name, apart in self.differences.items())
        refused = (f"{name}: {why}" for name, why in self.refused.items())
        parts = [f"heads {self.heads}", f"exact: {', '.join(proved)}", *refused]
        return f"Verification({'; '.join(parts)})"


def verify(model: nn.Module, inputs: Inputs, heads: Heads | None = None, *, seed: int = 0) -> Verification:
    """Prove that gates are applied, and that gated, zeroed, removed and loaded heads give the same outputs.

    Each way must give the outputs of the same model with the columns of W_O that the heads own zeroed by hand.

    All of it happens on copies in evaluation mode; the model stays as it is. Gates are proved in the precision of the
    model, the rest in float32. The memory must hold two copies more.

    Args:
        model: Any model whose attention the package knows, also one that has lost heads.
        inputs: A tokenised batch, by the names that the model's `forward` has.
        heads: Heads to take away, as `remove_heads` takes them; None for half of them at random and all of one block.
            Heads that share keys, values or weights go together.
        seed: Of the random choice.

    Raises:
        MaskNotAppliedError: If gates are not applied; see `prove_gates`.
        NotExactError: If a way to take heads away gives other outputs, or fails.
        UnsupportedModelError: If the type of the model is unknown.
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    model = copy.deepcopy(model).eval()
    prove_gates(model, inputs)
    inputs = {
        name: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in inputs.items()
        if name != "labels"
    }
    blocks = attention_blocks(model)
    chosen = some_heads(blocks, seed) if heads is None else as_mask(heads, head_counts(blocks))
    found = try_heads(model.float(), inputs, chosen.with_whole(units(blocks, groups=True)))
    if found.faults:
        must = "heads that are gated, zeroed, removed or loaded back must give the same outputs"
        faults = "; ".join(found.faults.values())
        raise errors.NotExactError(f"{must}; {faults}. Compare versions with 'prune-heads models'")
    return found


def some_heads(blocks: Sequence[AttentionBlock], seed: int) -> HeadMask:
    """Half of all heads at random, all of some block; what shares keys, values or weights goes together."""
    draw = random.Random(seed)
    empty = draw.randrange(len(blocks))
    together = units(blocks, groups=True)
    chosen = (unit for unit in together if draw.random() < 0.5 or empty in {block for block, _ in unit})
    return HeadMask(head_counts(blocks), frozenset().union(*chosen))


def try_heads(model: nn.Module, inputs: Inputs, heads: HeadMask, *, load: bool = True) -> Verification:
    """Take heads away in each way, on copies of a model in float32 and in evaluation mode.

    `load` says whether a checkpoint is written to a temporary folder and loaded back, too.
    """
    zeroed_by_hand = copy.deepcopy(model)
    with torch.no_grad():
        for block, named in zip(attention_blocks(zeroed_by_hand), heads.by_block(), strict=True):
            block.output.weight[:, block.output.dimensions(block.places(named))] = 0
    found, truth = Verification(heads), outputs(zeroed_by_hand, inputs)
    if apart(truth, outputs(model, inputs)) <= TOLERANCE:
        found.faults["gate"] = f"the heads {heads} change nothing"

    def gate() -> list[Tensor]:
        with gated(model, gates_of(model, heads)):
            return outputs(model, inputs)

    ways: dict[str, Callable[[], list[Tensor]]] = {
        "gate": gate,
        "zero": lambda: outputs(zero_heads(copy.deepcopy(model), heads), inputs),
        "remove": lambda: outputs(remove_heads(copy.deepcopy(model), heads), inputs),
        "load": lambda: outputs(_loaded(model, heads), inputs),
    }
    for name in ways if load else list(ways)[:-1]:
        try:
            found.differences[name] = apart(ways[name](), truth)
            if not found.differences[name] <= TOLERANCE:
                found.faults[name] = f"{name} is not as zeroed columns of W_O"
        except errors.PruneHeadsError as error:
            found.refused[name] = errors.first_line(error).rsplit(": ", 1)[-1]
        except Exception as error:  # a forward that does not take its new shapes raises whatever it stumbles over
            found.faults[name] = f"{name}: {type(error).__name__}: {errors.first_line(error)}"
    return found


@torch.no_grad()
def outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Of a pass whose random choices are the same each time: some types draw which tokens attend, or hash them.

    Without the fast path of `nn.MultiheadAttention`, which leaves zeros at padded places.
    """
    device, is_fast = next(model.parameters()).device, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            return compared(model(**inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)


def _loaded(model: nn.Module, heads: HeadMask) -> nn.Module:
    """Saved without the heads, or with zeroed ones where they cannot be removed, and loaded back."""
    if not isinstance(model, PreTrainedModel):
        raise errors.UnsupportedModelError("only models of transformers are saved and loaded")
    pruned = copy.deepcopy(model)
    try:
        remove_heads(pruned, heads)
    except errors.UnsupportedModelError:
        zero_heads(pruned, heads)
    with tempfile.TemporaryDirectory() as folder:
        save_pruned(pruned, Path(folder) / "model")
        loaded = load_pruned(Path(folder) / "model")
    loaded.set_attn_implementation(model.config._attn_implementation)
    return loaded.to(model.device)
