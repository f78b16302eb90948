"""One attention block of a model, as found by `attention_blocks`."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

Kind = Literal["self", "cross"]
Stack = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class AttentionBlock:
    """One attention module: where it is and how its heads are laid out.

    A picture of the moment: after `remove_heads`, call `attention_blocks` again.
    """

    name: str
    """Module path, e.g. `bert.encoder.layer.0.attention`."""
    kind: Kind
    stack: Stack
    layer: int
    """Layer within its stack, from 0."""
    n_heads: int
    """Query heads that the block has now."""
    n_kv_heads: int
    """Key and value heads that it has now; fewer than `n_heads` with grouped-query attention."""
    head_dim: int
    """Dimensions of one head."""
    original_heads: tuple[int, ...]
    """For each head that is there, its index (from 0) before anything was removed."""
    n_original_heads: int
    """Heads before anything was removed."""
    module: nn.Module
    """The module that holds the record of removed heads."""
    layer_module: nn.Module
    """The transformer layer that the block is part of: attention, feed-forward and norms."""
    query: nn.Linear
    """W_Q, W_K and W_V: rows `head * head_dim` onwards belong to a head; W_O: the same columns."""
    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    counters: tuple[tuple[nn.Module, str, int], ...]
    """(module, attribute, value of one head) for each attribute in which the module keeps its head count."""

    def linears(self) -> list[nn.Linear]:
        """The linear maps of the whole layer, feed-forward included."""
        return [module for module in self.layer_module.modules() if isinstance(module, nn.Linear)]

    def describe(self) -> dict[str, object]:
        """The block for reports: name, kind, stack, layer (from 1), n_heads (before removal)."""
        return {
            "name": self.name,
            "kind": self.kind,
            "stack": self.stack,
            "layer": self.layer + 1,
            "n_heads": self.n_original_heads,
        }
