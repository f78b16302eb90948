"""A block that has lost all its heads does not attend: it gives the bias of W_O.

It still counts tokens in a cache of keys and values: models read positions and masks of new tokens from the first
layer of the cache, whichever layer that is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.errors import UnsupportedModelError


def skip_attention(block: AttentionBlock) -> None:
    """Put in place of the module that attends a forward that computes nothing.

    Where it gives more than its heads do (`n_outputs` is 0), its own forward runs without heads. Nothing is put there
    if it is not known which module gives what.
    """
    if not block.layout.pattern or block.layout.context:
        return
    core = block.module.get_submodule(block.layout.core)
    if not block.layout.n_outputs:
        core.forward = _AttendsWithoutHeads(core, block.kind == "cross")
        return
    inside = any(module is block.output.module for module in core.modules())
    core.forward = _NoHeads(
        core,
        block.kind == "cross",
        block.output.module if inside else None,
        block.layout.n_outputs,
        block.layout.outputs,
    )
    if block.layout.closing:
        core.forward.closing = core.get_submodule(block.layout.closing)


@dataclass
class _NoHeads:
    """The forward of an attention without heads."""

    module: nn.Module
    """The attention, which has its layer index and its configuration."""
    is_cross: bool
    output: nn.Module | None
    """W_O, where it is a part of the attention."""
    n_outputs: int
    outputs: type[Any]
    closing: nn.Module | None = None
    """A norm of the sum of input and output, where it is a part of the attention."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The first argument, by position or by name, is the hidden states, `(batch, tokens, width)`.

        The other outputs are the weights of no heads, `(batch, 0, tokens, tokens)`, where an attention with heads would
        give its own: transformers lists those that are given, and the entries of later layers must keep their place.
        """
        hidden: Tensor = args[0] if args else next(iter(kwargs.values()))
        n_keys = hidden.shape[1]
        if not self.is_cross and (cache := _cache((*args, *kwargs.values()))) is not None:
            n_keys = _count(cache, self.module, hidden)
        if self.is_cross:
            _note_updated((*args, *kwargs.values()), self.module)
        context = hidden.new_empty(*hidden.shape[:-1], 0)
        if self.output is None:
            first = context
        elif isinstance(self.output, Conv1D):  # which cannot take inputs of no width
            first = hidden.new_zeros(*hidden.shape[:-1], self.output.nf) + self.output.bias
        else:
            first = self.output(context)
        if self.closing is not None:
            first = self.closing(hidden + first)
        config = getattr(self.module, "config", None)
        eager = getattr(config, "_attn_implementation", None) == "eager"
        weights = hidden.new_empty(hidden.shape[0], 0, hidden.shape[1], n_keys) if eager else None
        return self.outputs([first, *[weights] * (self.n_outputs - 1)])


@dataclass
class _AttendsWithoutHeads:
    """The forward of an attention that gives more than its heads do; its cache counts tokens."""

    module: nn.Module
    is_cross: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Arguments and results as of the module's own forward."""

        def replaced(value: Any) -> Any:
            if _cache([value]) is None:
                return value
            # Keys of another sequence have no part in positions, and without heads there is nothing to keep.
            return None if self.is_cross else _Counter(_cache([value]), self.module)

        own = {name: replaced(value) for name, value in kwargs.items()}
        return type(self.module).forward(self.module, *map(replaced, args), **own)


@dataclass
class _Counter:
    """Stands for the cache in an attention without heads."""

    cache: Any
    module: nn.Module

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        """Tokens so far."""
        return self.cache.get_seq_length(layer_idx)

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values of no heads, `(batch, 0, tokens so far, head_dim)`."""
        n_keys = _count(self.cache, self.module, keys.transpose(1, 2))
        empty = keys.new_empty(keys.shape[0], 0, n_keys, keys.shape[-1])
        return empty, empty


def _cache(values: Iterable[Any]) -> Any:
    """The cache of self-attention among the arguments of a forward, whose name for it varies; None without one."""
    cache = next((value for value in values if hasattr(value, "get_seq_length")), None)
    return getattr(cache, "self_attention_cache", cache)


def _note_updated(values: Iterable[Any], module: nn.Module) -> None:
    """Tell the cache that the keys of the other sequence have been kept: some models ask that of their first layer."""
    updated = next((value.is_updated for value in values if hasattr(value, "is_updated")), None)
    layer = getattr(module, "layer_idx", None)
    if isinstance(updated, dict) and layer is not None:
        updated[layer] = True


def _count(cache: Any, module: nn.Module, hidden: Tensor) -> Any:
    """Keep a zero for each new token of `(batch, tokens, ...)` where a head would keep its keys, and count them all.

    Raises:
        UnsupportedModelError: If the cache holds its keys in another form than it is given.
    """
    layer = getattr(module, "layer_idx", getattr(module, "layer_id", None))
    layers = getattr(cache, "layers", ())
    held: Any = layers[layer] if layer is not None and layer < len(layers) else None
    if layer is None or hasattr(held, "q_group_size"):
        raise UnsupportedModelError(
            "a cache must count the tokens of a layer without heads, which one that keeps quantised groups of keys "
            f"cannot; got {type(held).__name__} for {type(module).__name__}. Generate without cache_implementation or "
            "with use_cache=False, or gate or zero the last heads of the layer instead of removing them"
        )
    shape = 1, 1
    if getattr(held, "is_initialized", False) and held.keys.ndim == 4:  # for the heads of the configuration
        shape = held.keys.shape[1], held.keys.shape[3]
    zeros = hidden.new_zeros(hidden.shape[0], shape[0], hidden.shape[1], shape[1])
    keys, _ = cache.update(zeros, zeros, layer)
    return keys.shape[-2]
