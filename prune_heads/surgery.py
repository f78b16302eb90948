"""Pruning for good: zero the weights of heads in place, or take them out.

A head owns rows of W_Q, W_K, W_V and of their biases, and columns of W_O. The bias of W_O belongs to no head and
stays. Without the bias of W_V, zeroed rows would still send W_O b_V onwards, since attention weights sum to 1.
With grouped-query attention several heads share W_K and W_V: these are zeroed with the last of them, and heads are
taken out by whole groups.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.biases import select_biases
from prune_heads.anatomy.block import AttentionBlock, gone_from, head_counts, units
from prune_heads.anatomy.locate import attention_blocks, leave_record, models_inside
from prune_heads.anatomy.multihead import keep_heads, stay_dense
from prune_heads.anatomy.skip import skip_attention
from prune_heads.anatomy.stand_in import keep_a_head_of_zeros
from prune_heads.anatomy.writable import check_writable
from prune_heads.errors import UnsupportedModelError
from prune_heads.heads import HeadMask, Heads, as_mask


def zero_heads(model: nn.Module, heads: Heads) -> nn.Module:
    """Zero everything that the heads own; shapes stay, so the checkpoint loads in plain transformers.

    Args:
        model: Changed in place and returned.
        heads: A `HeadMask`, a descriptor (`"3:1,5"`, from 1) or block -> heads (from 0), in the original
            numbering. Heads that have been removed before are left alone. Where layers share their weights (ALBERT),
            a head goes at every depth; if it was not named for all, a warning says so.

    Raises:
        UnsupportedModelError: If the model's type is unknown; or if weights to be written are not plain parameters of
            their block (see `check_writable`). Nothing is written then.
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    with torch.no_grad():
        owned = [each for block, places in _places(model, heads) for each in block.owned(places)]
        for each in owned:  # checks come before anything is written
            tensor = each.tensor
            tensor.index_fill_(each.dim, torch.tensor(each.indices, dtype=torch.long, device=tensor.device), 0)
    return model


def remove_heads(model: nn.Module, heads: Heads) -> nn.Module:
    """Take the heads out: fewer rows in W_Q, W_K, W_V and columns in W_O, down to none. All of them, or none.

    The model's configuration names them from then on, so that `load_pruned` reads what any `save_pretrained` writes.

    Args and errors as `zero_heads`; further

    Raises:
        UnsupportedModelError: If the type's heads cannot be taken out, or only a part of a group is to go.
    """
    with _all_or_nothing(model):
        found = [(block, places) for block, places in _places(model, heads) if places]
        for block, places in found:
            _check(block, places)
        stay_dense(model)
        for block, places in found:
            _take_out(block, places)
        if found:
            _note(model)
    return model


def removed_heads(model: nn.Module) -> HeadMask:
    """The heads that `remove_heads` has taken out of the model so far, in the original numbering."""
    return gone_from(attention_blocks(model))


def _places(model: nn.Module, heads: Heads) -> list[tuple[AttentionBlock, list[int]]]:
    """Of each block whose weights are its own, the places (from 0) of the pruned heads that are still there."""
    blocks = attention_blocks(model)
    named = as_mask(heads, head_counts(blocks))
    mask = named.with_whole(units(blocks))
    if mask != named:
        warnings.warn(
            f"layers of this model share their weights, so heads go at every depth: {mask}, where {named} were named",
            stacklevel=3,
        )
    places = [
        (block, [i for i, head in enumerate(block.original_heads) if head in pruned])
        for block, pruned in zip(blocks, mask.by_block(), strict=True)
        if block.depth == 0
    ]
    check_writable(blocks, [block for block, heads in places if heads])
    return places


def _check(block: AttentionBlock, places: list[int]) -> None:
    if block.layout.stays:
        raise UnsupportedModelError(
            f"heads of {block.name} can be gated or zeroed but not removed: {block.layout.stays}"
        )
    size = block.n_heads // block.n_kv_heads
    if len(places) != size * len(block.inputs_of(places)[0][1]):
        numbers = [head + 1 for head in block.original_heads]
        groups = [numbers[start : start + size] for start in range(0, block.n_heads, size)]
        shown = "; ".join(",".join(map(str, group)) for group in groups)
        raise UnsupportedModelError(
            f"heads of {block.name} share W_K and W_V by groups ({shown}) and are removed by whole groups; got "
            f"{','.join(str(numbers[i]) for i in places)}. Take whole groups (--groups), or zero or gate single heads"
        )


def _take_out(block: AttentionBlock, places: list[int]) -> None:
    """Narrow a block by the heads at these places (from 0)."""
    kept = [i for i in range(block.n_heads) if i not in places]
    gone: dict[tuple[nn.Module, str, int], list[int]] = {}
    for owned in block.owned(places):
        gone.setdefault(owned[:3], []).extend(owned.indices)
    counters = list(_counters(block))
    if block.layout.context == "multihead":
        keep_heads(block.module, kept)
    elif not kept and not block.layout.pattern:
        keep_a_head_of_zeros(block, counters)
    for (module, name, dim), indices in gone.items():
        _narrow(module, name, dim, set(indices))
    for module, name, count in counters:
        setattr(module, name, count * len(kept) // block.n_heads)
    if block.layout.config_counters:  # read at every call
        counts = dict.fromkeys(block.layout.config_counters, len(kept))
        vars(block.module)["config"] = _OwnCounts(block.module.config, counts)
    select_biases(block, kept)
    if not kept:
        skip_attention(block)
    leave_record(block, tuple(block.original_heads[i] for i in kept))


class _OwnCounts:
    """A model's configuration as one block reads it: the counts are the block's."""

    def __init__(self, config: Any, counts: dict[str, int]) -> None:
        vars(self).update(counts, config=vars(config).get("config", config))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by copy and pickle, before there is a configuration
            raise AttributeError(name)
        return getattr(vars(self)["config"], name)


def _note(model: nn.Module) -> None:
    """Let the configuration say which heads are gone, block -> heads from 0, as transformers 4 did.

    Each model of transformers notes its own, also where several are inside another module.
    """
    blocks = attention_blocks(model)
    for path, part in (models_inside(model) or {"": model}).items():
        own = [block for block in blocks if not path or block.name.startswith(f"{path}.")]
        before, gone = getattr(part, "config", None), gone_from(own)
        if not gone or not isinstance(before, PreTrainedConfig):
            continue
        config = copy.copy(before)  # other models may have been built from the same one
        config.pruned_heads = {block: list(heads) for block, heads in enumerate(gone.by_block()) if heads}
        for module in part.modules():
            held = vars(module).get("config")
            holder = vars(held) if isinstance(held, _OwnCounts) else vars(module)
            if holder.get("config") is before:
                holder["config"] = config
        # Tables that transformers leaves out and computes anew, which need not be those that were loaded.
        vars(part)["_keys_to_ignore_on_save"] = None


@contextmanager
def _all_or_nothing(model: nn.Module) -> Iterator[None]:
    """If the block raises, the modules get back what they held; it may replace weights but not change them."""
    before = [(state, state.copy()) for state in _states(model)]
    try:
        yield
    except BaseException:
        for state, held in before:
            state.clear()
            state.update(held)
        raise


def _states(model: nn.Module) -> Iterator[dict[str, Any]]:
    """The dictionaries that hold what `remove_heads` sets: of the modules and of our own objects on them."""
    for module in model.modules():
        yield vars(module)
        for value in vars(module).values():
            if isinstance(value, dict):
                yield value
            elif type(value).__module__.startswith("prune_heads.") and hasattr(value, "__dict__"):
                yield vars(value)


def _counters(block: AttentionBlock) -> Iterator[tuple[nn.Module, str, int]]:
    """Attributes that count heads or their dimensions, each with its value: all are in proportion to the heads."""
    counts = {block.n_heads, block.n_kv_heads}
    counts |= {n * size for n in counts for size in (len(block.query.heads[0]), block.head_dim)}
    for module in block.module.modules():
        for name in block.layout.counters:
            count = vars(module).get(name)
            if isinstance(count, int) and count in counts:  # what has the name alone is something else
                yield module, name, count


def _narrow(module: nn.Module, name: str, dim: int, gone: set[int]) -> None:
    """Take these indices out of one weight or bias; a linear map's own sizes follow."""
    whole = cast(Tensor, getattr(module, name))
    kept = torch.tensor([i for i in range(whole.shape[dim]) if i not in gone], device=whole.device)
    narrow = whole.detach().index_select(dim, kept.long()).contiguous()
    setattr(module, name, nn.Parameter(narrow, requires_grad=whole.requires_grad))
    if name == "weight" and isinstance(module, nn.Linear | Conv1D):
        names = ("nx", "nf") if isinstance(module, Conv1D) else ("out_features", "in_features")
        vars(module).update(zip(names, narrow.shape, strict=True))
