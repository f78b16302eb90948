"""A block that has lost all its heads does not attend: what is left of it is the bias of W_O."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.block import AttentionBlock


def skip_attention(block: AttentionBlock) -> None:
    """Put in place of the module that attends a forward that computes nothing.

    Not where the layer still hands on the biases of all heads, nor where it is not known which module gives what: their
    products have no width then.
    """
    if (
        not block.layout.pattern
        or block.layout.context
        or (block.layout.shared_biases and hasattr(block.module, "compute_bias"))
    ):
        return
    core = block.module.get_submodule(block.layout.core)
    inside = any(module is block.output.module for module in core.modules())
    core.forward = _NoHeads(
        block.output.module if inside else None, block.layout.n_outputs, block.layout.outputs
    )
    if block.layout.closing:
        core.forward.closing = core.get_submodule(block.layout.closing)


@dataclass
class _NoHeads:
    """The forward of an attention without heads."""

    output: nn.Module | None
    """W_O, where it is a part of the attention."""
    n_outputs: int
    outputs: type[Any]
    closing: nn.Module | None = None
    """A norm of the sum of input and output, where it is a part of the attention."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The first argument, by position or by name, is the hidden states, `(batch, tokens, width)`."""
        hidden: Tensor = args[0] if args else next(iter(kwargs.values()))
        context = hidden.new_empty(*hidden.shape[:-1], 0)
        if self.output is None:
            first = context
        elif isinstance(self.output, Conv1D):  # which cannot take inputs of no width
            first = hidden.new_zeros(*hidden.shape[:-1], self.output.nf) + self.output.bias
        else:
            first = self.output(context)
        if self.closing is not None:
            first = self.closing(hidden + first)
        return self.outputs([first, *[None] * (self.n_outputs - 1)])
