"""How a block computes that has lost heads, where narrower weights are not all that it takes.

A block without any head does not attend: it gives the bias of W_O. It still counts tokens in a cache of keys and
values, since models read positions and masks of new tokens from the first layer of the cache, whichever that is. What
the forward of a described class returns, caches and reshapes is not known: it runs on, with one head of zeros, which
sends zeros into W_O.
"""

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.context import keep_heads, put
from prune_heads.errors import UnsupportedModelError

Count = tuple[nn.Module, str, int]  # an attribute that counts heads or their dimensions, and its value


def compute_with(block: AttentionBlock, kept: list[int], counters: Iterable[Count]) -> None:
    """Let a block compute with the heads at these places (from 0), before the weights of the others are taken out.

    The counters are those of the block as it is.
    """
    layout, own = block.layout, vars(block.module)
    if layout.config_counters:  # read at every call
        own["config"] = OwnCounts(block.module.config, dict.fromkeys(layout.config_counters, len(kept)))
    if layout.shared_biases and isinstance(own.get("forward"), _OwnBiases):
        own["forward"].heads = [own["forward"].heads[i] for i in kept]
    elif layout.shared_biases:
        own["forward"] = _OwnBiases(block, kept)
    if layout.context == "multihead":
        keep_heads(block.module, kept)
    elif not kept and not layout.pattern:
        own["forward"] = _HeadOfZeros(block, counters)
    elif not kept and not layout.context:  # else it is not known which module gives what
        core = block.module.get_submodule(layout.core)
        vars(core)["forward"] = _NoHeads(block, core)


class OwnCounts:
    """A model's configuration as one block reads it: the counts are the block's."""

    def __init__(self, config: Any, counts: dict[str, int]) -> None:
        vars(self).update(counts, config=vars(config).get("config", config))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by copy and pickle, before there is a configuration
            raise AttributeError(name)
        return getattr(vars(self)["config"], name)


class _OwnBiases:
    """In place of the forward of a block that is given scores for every head, `(..., n_heads, queries, keys)`.

    T5's first layer computes one relative bias for all heads of all layers and hands it on; MPNet's encoder does the
    same. A block of fewer heads takes those of its own, and a first layer still hands on the biases of all.
    """

    def __init__(self, block: AttentionBlock, heads: Sequence[int]) -> None:
        self.module, self.forward, self.names = block.module, block.module.forward, block.layout.shared_biases
        self.parameters = list(inspect.signature(self.forward).parameters)
        self.n_heads, self.heads = block.n_original_heads, list(heads)
        self.everyone: Tensor | None = None  # the scores of all heads, given or computed in the call that runs
        if hasattr(self.module, "compute_bias"):
            vars(self.module)["compute_bias"] = self.compute

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(self.parameters, args, strict=False)) | kwargs
        self.everyone = given.get(self.names[0])
        own = {name: self._own(given[name]) for name in self.names if name in given}
        output, everyone = self.forward(**given | own), self.everyone
        self.everyone = None
        return (output[0], everyone, *output[2:]) if "compute_bias" in vars(self.module) else output

    def compute(self, *args: Any, **kwargs: Any) -> Any:
        """In place of the module's own, which looks up the biases of all heads."""
        self.everyone = type(self.module).compute_bias(self.module, *args, **kwargs)  # type: ignore[attr-defined]
        return self._own(self.everyone)

    def _own(self, scores: Any) -> Any:
        if not isinstance(scores, Tensor) or scores.shape[-3] != self.n_heads:
            return scores
        return scores.index_select(-3, torch.tensor(self.heads, dtype=torch.long, device=scores.device))


class _NoHeads:
    """The forward of an attention without heads."""

    def __init__(self, block: AttentionBlock, core: nn.Module) -> None:
        self.core, self.forward, self.is_cross, self.layout = core, core.forward, block.kind == "cross", block.layout
        output = block.output.module
        self.output = output if any(module is output for module in core.modules()) else None
        """W_O, where it is a part of the attention."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The first argument is the hidden states; the other outputs are weights, `(batch, 0, tokens, tokens)`.

        Transformers lists those that are given, and the entries of later layers must keep their place.
        """
        if not self.layout.n_outputs:  # it gives more than its heads do
            return self.forward(*map(self._counting, args), **{name: self._counting(x) for name, x in kwargs.items()})
        given = (*args, *kwargs.values())
        hidden: Tensor = given[0]
        n_keys = hidden.shape[1]
        if self.is_cross:  # some models ask their first layer whether the keys of the other sequence have been kept
            updated = next((value.is_updated for value in given if hasattr(value, "is_updated")), None)
            if isinstance(updated, dict) and hasattr(self.core, "layer_idx"):
                updated[self.core.layer_idx] = True
        elif (cache := _cache(given)) is not None:
            n_keys = _count(cache, self.core, hidden)
        first = hidden.new_empty(*hidden.shape[:-1], 0)
        if isinstance(self.output, Conv1D):  # which cannot take inputs of no width
            first = hidden.new_zeros(*hidden.shape[:-1], self.output.nf) + self.output.bias
        elif self.output is not None:
            first = self.output(first)
        if self.layout.closing:
            first = self.core.get_submodule(self.layout.closing)(hidden + first)
        eager = getattr(getattr(self.core, "config", None), "_attn_implementation", None) == "eager"
        weights = hidden.new_empty(hidden.shape[0], 0, hidden.shape[1], n_keys) if eager else None
        outputs = [first, *[weights] * (self.layout.n_outputs - 1)]
        return outputs if self.layout.gives_list else tuple(outputs)

    def _counting(self, value: Any) -> Any:
        """What stands for an argument: for a cache, one that counts tokens."""
        cache = _cache([value])
        if cache is None or self.is_cross:  # keys of another sequence have no part in positions; none are kept
            return value if cache is None else None

        def update(keys: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
            empty = keys.new_empty(keys.shape[0], 0, _count(cache, self.core, keys.transpose(1, 2)), keys.shape[-1])
            return empty, empty

        return SimpleNamespace(get_seq_length=cache.get_seq_length, update=update)


def _cache(values: Iterable[Any]) -> Any:
    """The cache of self-attention among the arguments of a forward, whose name for it varies; None without one."""
    cache = next((value for value in values if hasattr(value, "get_seq_length")), None)
    return getattr(cache, "self_attention_cache", cache)


def _count(cache: Any, core: nn.Module, hidden: Tensor) -> Any:
    """Keep a zero for each new token of `(batch, tokens, ...)` where a head would keep its keys, and count them all."""
    layer = getattr(core, "layer_idx", getattr(core, "layer_id", None))
    layers = getattr(cache, "layers", ())
    held: Any = layers[layer] if layer is not None and layer < len(layers) else None
    if layer is None or hasattr(held, "q_group_size"):
        must = f"a cache must count the tokens of a layer without heads; got {type(held).__name__}, which cannot"
        cure = "Generate without cache_implementation or with use_cache=False, or gate or zero the last heads"
        raise UnsupportedModelError(f"{must}, for {type(core).__name__}. {cure}")
    shape = 1, 1
    if getattr(held, "is_initialized", False) and held.keys.ndim == 4:  # for the heads of the configuration
        shape = held.keys.shape[1], held.keys.shape[3]
    zeros = hidden.new_zeros(hidden.shape[0], shape[0], hidden.shape[1], shape[1])
    keys, _ = cache.update(zeros, zeros, layer)
    return keys.shape[-2]


class _HeadOfZeros:
    """In place of the forward of a described attention without heads: one is there for the length of a pass."""

    def __init__(self, block: AttentionBlock, counters: Iterable[Count]) -> None:
        self.forward = block.module.forward
        self.rows = Counter[tuple[nn.Module, str, int]]()
        """Of each weight (module, name, dimension of the heads), the size of that dimension."""
        for owned in block.owned(range(block.group_size)):
            self.rows[owned[:3]] += len(owned.indices)
        self.counters = [(module, name, count // block.n_kv_heads) for module, name, count in counters]
        """What they say of one group of heads."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as undo:
            for (module, name, dim), size in self.rows.items():
                empty = getattr(module, name)
                zeros = empty.new_zeros([*empty.shape[:dim], size, *empty.shape[dim + 1 :]])
                undo.callback(put(module._parameters, name, zeros))
            for module, name, count in self.counters:
                undo.callback(put(vars(module), name, count))
            return self.forward(*args, **kwargs)
