"""How a model is run for the length of a with-block: under gates on what each head sends into W_O, or evaluating.

The gate is Michel et al.'s mask variable xi_h (2019, section 2.2). transformers 5 ignores `head_mask`, so
the gate is a pre-hook on W_O: outside the attention kernel, hence the same for eager and SDPA attention.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks, head_counts, on_context, stay_dense, uncompiled
from prune_heads.anatomy.locate import written
from prune_heads.errors import MaskNotAppliedError, UnsupportedModelError
from prune_heads.heads import Heads, as_mask

Gate = Tensor | Callable[[Tensor], Tensor]
Instead = Sequence[Tensor | None] | None


@contextmanager
def gated(model: nn.Module, gates: Sequence[Gate], instead: Instead = None) -> Iterator[nn.Module]:
    """Multiply the output of each head by its gate: 1 leaves it, bit for bit; 0 takes it away.

    With something instead, a head gives `gate * output + (1 - gate) * instead` at the input of W_O.

    Compiled models run uncompiled inside the block. `nn.MultiheadAttention` is computed step by step: the outputs of
    tokens then agree with PyTorch's fast path up to rounding. At padded places that path may write zeros; here they
    hold what is computed there, as in PyTorch without it.

    Args:
        model: A transformers model; it is not copied, and no hook survives the block.
        gates: One tensor an attention block, `(n_heads,)`, `(batch, n_heads)` or `(batch, tokens, n_heads)`,
            for the heads that the block has now. Gradients flow into them. Or a function that gives such a
            tensor; it is called with the input of W_O, `(batch, tokens, n_heads * head_dim)`.
        instead: One tensor a block, of heads side by side (`width` = n_heads * head_dim): `(width,)`; `(positions,
            width)`, a row a token of the batch from the first on, the last row for all that are further; or `(batch,
            tokens, width)`. None, for all or for a block, is 0. `objectives.replacing` makes some.

    Raises:
        UnsupportedModelError: If the model's type is unknown.
        ValueError: If the number or the shape of the gates does not fit.
        MaskNotAppliedError: At the end of the block, if the attention of a block ran without calling its W_O, so that
            a gate other than 1 was not applied. Attention that did not run, such as an image encoder's for a text, is
            no fault. In the end only `prove_gates` shows that a gate changes the output.
    """
    blocks = attention_blocks(model)
    others = [None] * len(gates) if instead is None else instead
    if len(gates) != len(blocks) or len(others) != len(blocks):
        got = str(len(gates)) if instead is None else f"{len(gates)}, and {len(others)} to stand in"
        raise ValueError(f"gates must be one tensor per block ({len(blocks)}); got {got}")
    every: dict[nn.Module, _Gates] = {}  # one hook a W_O; layers that share theirs are its calls in a forward pass
    for block, gate, other in zip(blocks, gates, others, strict=True):
        if isinstance(gate, Tensor) and (gate.ndim not in (1, 2, 3) or gate.shape[-1] != block.n_heads):
            shapes = f"(n_heads,), (batch, n_heads) or (batch, tokens, n_heads) with n_heads={block.n_heads}"
            raise ValueError(f"gates of {block.name} must have shape {shapes}; got {tuple(gate.shape)}")
        if block.n_heads:
            every.setdefault(block.output.module, _Gates()).calls.append((block, gate, other))
    with ExitStack() as hooks:
        hooks.enter_context(uncompiled())
        hooks.push(stay_dense(model))
        for hook in every.values():
            hooks.push(on_context(hook.calls[0][0], hook))
            for module in {block.module for block, *_ in hook.calls}:
                hooks.callback(module.register_forward_hook(hook.attended).remove)
            if len(hook.calls) > 1:
                hooks.callback(written(model).register_forward_pre_hook(hook.start_over).remove)
        yield model
    if passed_by := [name for hook in every.values() for name in hook.passed_by()]:
        must = f"the attention of a block must call its W_O; that of {', '.join(passed_by)} ran without it"
        raise MaskNotAppliedError(f"{must} and ignored its gates. Call W_O as a module, not its weights by a function")


class _Gates:
    """The pre-hook of one W_O: the gates of its calls, in turn."""

    def __init__(self) -> None:
        self.calls: list[tuple[AttentionBlock, Gate, Tensor | None]] = []  # in a forward pass: a block, and its own
        self.n_calls = 0
        self.is_met = self.was_passed_by = False  # whether W_O was called since its attention last ended; and was not

    def start_over(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """At the start of a forward pass, also after one that was broken off."""
        self.n_calls = 0

    def attended(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """At the end of the attention, after which W_O must have been called."""
        self.was_passed_by |= not self.is_met
        self.is_met = False

    def passed_by(self) -> list[str]:
        """The names of blocks whose gates matter and were not applied."""
        calls = self.calls if self.was_passed_by else []
        return [x.name for x, gate, _ in calls if callable(gate) or gate.requires_grad or bool((gate != 1).any())]

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Args: `args[0]` is the input of W_O, `(batch, tokens, n_heads * head_dim)`."""
        self.is_met, context = True, args[0]
        block, gate, other = self.calls[self.n_calls % len(self.calls)]
        self.n_calls += 1
        if callable(gate):
            return (block.gated(context, gate(context), other), *args[1:])
        gate = gate.to(context.device, context.dtype)
        gate = gate[:, None, :] if gate.ndim == 2 else gate  # a gate per example holds for all its tokens
        if gate.ndim == 3 and len(gate) != len(context):
            raise ValueError(f"gates of {block.name} are for a batch of {len(gate)}; got {len(context)}")
        return (block.gated(context, gate, other), *args[1:])


def gates_of(model: nn.Module, heads: Heads) -> list[Tensor]:
    """Gates of 0 for the pruned heads and 1 for the others, `(n_heads,)` a block, for `gated`.

    `heads` are in the original numbering; heads that have been removed need no gate.

    Raises:
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    blocks = attention_blocks(model)
    mask = as_mask(heads, head_counts(blocks))
    weight = next(model.parameters())
    device = "cpu" if weight.is_meta else weight.device  # of an offloaded model
    pairs = zip(blocks, mask.keep(), strict=True)
    return [torch.tensor([float(keep[head]) for head in block.original_heads], device=device) for block, keep in pairs]


@contextmanager
def evaluating(model: nn.Module, *, frozen: bool = False) -> Iterator[nn.Module]:
    """The model in evaluation mode; after the block every module is in the mode it was in.

    `frozen`: meanwhile no gradient is computed for a parameter.
    """
    with ExitStack() as undo:
        for module in model.modules():
            if module.training:
                undo.callback(setattr, module, "training", True)  # not train(), which speaks for the modules inside too
        for parameter in model.parameters():
            if frozen and parameter.requires_grad:
                undo.callback(parameter.requires_grad_)
                parameter.requires_grad_(False)
        model.eval()
        yield model


def logits_of(output: Any) -> Tensor:
    """`(batch, ...)`: the logits that a model gives, as `output.logits`, as `output["logits"]` or as its output.

    One number an example is one logit. Without any, an `UnsupportedModelError`.
    """
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if isinstance(found, Tensor):
        return found if found.ndim > 1 else found[:, None]
    must = f"a model must give its logits, as a tensor or as the field 'logits'; got {type(output).__name__}"
    raise UnsupportedModelError(f"{must}. Wrap it in a module whose forward returns them")
