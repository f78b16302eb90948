"""Pruning for good: zero the weights of heads in place, or take them out.

A head owns rows of W_Q, W_K, W_V and of their biases, and columns of W_O. The bias of W_O belongs to no head and
stays. Without the bias of W_V, zeroed rows would still send W_O b_V onwards, since attention weights sum to 1.
With grouped-query attention several heads share W_K and W_V: these are zeroed with the last of them, and heads are
taken out by whole groups.
"""

import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy import AttentionBlock, attention_blocks, gone_from, head_counts, stay_dense, units
from prune_heads.anatomy.block import Owned
from prune_heads.anatomy.locate import leave_record, models_inside
from prune_heads.anatomy.narrowed import OwnCounts, compute_with
from prune_heads.errors import UnsupportedModelError
from prune_heads.gating import Instead
from prune_heads.heads import HeadMask, Heads, as_mask


def zero_heads(model: nn.Module, heads: Heads, means: Instead = None) -> nn.Module:
    """Zero everything that the heads own; shapes stay, so the checkpoint loads in plain transformers.

    Args:
        model: Changed in place and returned.
        heads: A `HeadMask`, a descriptor (`"3:1,5"`, from 1) or block -> heads (from 0), in the original
            numbering. Heads that have been removed before are left alone. Where layers share their weights (ALBERT),
            a head goes at every depth; if it was not named for all, a warning says so.
        means: What heads that go still send, one `(n_heads * head_dim,)` a block as it is now; added to the bias of
            W_O, see `bias_shifts`. None for nothing.

    Raises:
        UnsupportedModelError: If the model's type is unknown; or if weights to be written are not plain parameters of
            their block: computed from others at every forward pass (pruning masks, weight norms, parametrisations,
            adapters), kept elsewhere, or of another block too. Nothing is written then.
        HeadDescriptorError: If `heads` cannot be read or names a head that the model never had.
    """
    shifts = bias_shifts(model, heads, means)
    with torch.no_grad():
        owned = [each for block, places in _places(model, heads) for each in block.owned(places)]
        for each in owned:  # checks come before anything is written
            tensor = each.tensor
            tensor.index_fill_(each.dim, each.where, 0)
        _shift(shifts)
    return model


def remove_heads(model: nn.Module, heads: Heads, means: Instead = None) -> nn.Module:
    """Take the heads out: fewer rows in W_Q, W_K, W_V and columns in W_O, down to none. All of them, or none.

    The model's configuration names them from then on, so that `load_pruned` reads what any `save_pretrained` writes.

    Args and errors as `zero_heads`; further

    Raises:
        UnsupportedModelError: If the type's heads cannot be taken out, or only a part of a group is to go.
    """
    shifts = bias_shifts(model, heads, means)
    with _all_or_nothing(model):
        found = [(block, places) for block, places in _places(model, heads) if places]
        for block, places in found:
            _check(block, places)
        stay_dense(model)
        for block, places in found:
            _take_out(block, places)
        if found:
            _note(model)
    _shift(shifts)
    return model


@torch.no_grad()
def bias_shifts(model: nn.Module, heads: Heads, means: Instead) -> list[tuple[Tensor, Tensor]]:
    """Biases of W_O, each with what is added to it so that the heads still send their means: W_O^h mean_h, summed.

    Raises:
        UnsupportedModelError: If a W_O has no bias, or one that is not its layer's own.
    """
    blocks, shifts = attention_blocks(model), list[tuple[Tensor, Tensor]]()
    named = as_mask(heads, head_counts(blocks)).by_block()
    for block, pruned, mean in zip(blocks, named, means or (), strict=means is not None):
        if mean is None or not (places := block.places(pruned)):
            continue
        bias, shared = block.output.bias, "layers share their weights" if block.n_depths > 1 else ""
        why = "there is none" if bias is None else shared or why_not_plain(block.output.module, block.output.names[1])
        if bias is None or why:
            must = f"the bias of W_O of {block.name} must be its own to take the means of heads; {why}"
            raise UnsupportedModelError(f"{must}. Take zeros in their place, or gate heads (evaluate, ablate, curve)")
        weight = block.output.weight[:, block.output.dimensions(places)].cpu().double()
        own = mean.cpu().double().unflatten(-1, (block.n_heads, block.head_dim))[places].flatten()
        shifts.append((bias, (weight @ own).to(bias)))
    return shifts


@torch.no_grad()
def _shift(shifts: list[tuple[Tensor, Tensor]]) -> None:
    for bias, shift in shifts:
        bias.add_(shift)


def removed_heads(model: nn.Module) -> HeadMask:
    """The heads that `remove_heads` has taken out of the model so far, in the original numbering."""
    return gone_from(attention_blocks(model))


def zeroed_heads(model: nn.Module) -> HeadMask:
    """The heads that are there and own nothing but zeros, as `zero_heads` leaves them, in the original numbering."""
    blocks = attention_blocks(model)
    dead = frozenset(
        (i, head)
        for i, block in enumerate(blocks)
        for place, head in enumerate(block.original_heads)
        if not any(bool(each.tensor.index_select(each.dim, each.where).any()) for each in block.owned([place]))
    )
    return HeadMask(head_counts(blocks), dead)


@contextmanager
def staying_zero(model: nn.Module, heads: Heads) -> Iterator[nn.Module]:
    """Until the block ends no gradient reaches what these heads own: under AdamW zeros stay zeros, bit for bit.

    Of a head with keys and values of its own none would; where heads share these, its columns of W_O would grow again.
    """

    def closed(each: Owned) -> Callable[[Tensor], Tensor]:
        dim, where = each.dim, each.where  # made once, and not in each backward pass
        return lambda gradient: gradient.index_fill(dim, where.to(gradient.device), 0)  # also of infinity

    blocks = attention_blocks(model)
    named = as_mask(heads, head_counts(blocks)).by_block()
    with ExitStack() as hooks:
        for block, zeroed in zip(blocks, named, strict=True):
            for each in block.owned(block.places(zeroed)) if block.depth == 0 else ():
                if each.indices and each.tensor.requires_grad:
                    hooks.callback(each.tensor.register_hook(closed(each)).remove)
        yield model


def _places(model: nn.Module, heads: Heads) -> list[tuple[AttentionBlock, list[int]]]:
    """Of each block whose weights are its own, the places (from 0) of the pruned heads that are still there."""
    blocks = attention_blocks(model)
    named = as_mask(heads, head_counts(blocks))
    mask = named.with_whole(units(blocks))
    if mask != named:
        every = f"heads go at every depth: {mask}, where {named} were named"
        warnings.warn(f"layers of this model share their weights, so {every}", stacklevel=3)
    pairs = zip(blocks, mask.by_block(), strict=True)
    places = [(block, block.places(pruned)) for block, pruned in pairs if block.depth == 0]
    _check_writable(blocks, [block for block, chosen in places if chosen])
    return places


def _check(block: AttentionBlock, places: list[int]) -> None:
    if why := block.layout.stays:
        raise UnsupportedModelError(f"heads of {block.name} can be gated or zeroed but not removed: {why}")
    size = block.group_size
    if len(places) != size * len(block.inputs_of(places)[0][1]):
        numbers = [str(head + 1) for head in block.original_heads]
        groups = "; ".join(",".join(numbers[start : start + size]) for start in range(0, block.n_heads, size))
        must = f"heads of {block.name} share W_K and W_V by groups ({groups}) and are removed by whole groups"
        cure = "Take whole groups (--groups), for fit --units groups; or zero or gate single heads"
        raise UnsupportedModelError(f"{must}; got {','.join(numbers[i] for i in places)}. {cure}")


def _take_out(block: AttentionBlock, places: Collection[int]) -> None:
    """Narrow a block by the heads at these places (from 0)."""
    kept = [i for i in range(block.n_heads) if i not in places]
    gone: dict[tuple[nn.Module, str, int], list[int]] = {}
    for owned in block.owned(places):
        gone.setdefault(owned[:3], []).extend(owned.indices)
    numbers = {block.n_heads, block.n_kv_heads}
    numbers |= {n * size for n in numbers for size in (len(block.query.heads[0]), block.head_dim)}
    counters = [  # of heads or their dimensions, in proportion to the heads; what has the name alone is something else
        (module, name, vars(module)[name])
        for module in block.module.modules()
        for name in block.layout.counters
        if isinstance(count := vars(module).get(name), int) and count in numbers
    ]
    compute_with(block, kept, counters)
    for (module, name, dim), indices in gone.items():
        whole = cast(Tensor, getattr(module, name))
        left = torch.tensor(sorted({*range(whole.shape[dim])}.difference(indices)), device=whole.device).long()
        narrow = whole.detach().index_select(dim, left).contiguous()
        setattr(module, name, nn.Parameter(narrow, requires_grad=whole.requires_grad))
        if name == "weight" and isinstance(module, nn.Linear | Conv1D):  # a linear map's own sizes follow
            sizes = ("nx", "nf") if isinstance(module, Conv1D) else ("out_features", "in_features")
            vars(module).update(zip(sizes, narrow.shape, strict=True))
    for module, name, count in counters:
        setattr(module, name, count * len(kept) // block.n_heads)
    leave_record(block, tuple(block.original_heads[i] for i in kept))


def _note(model: nn.Module) -> None:
    """Let the configuration say which heads are gone, block -> heads from 0, as transformers 4 did.

    Each model of transformers notes its own, also where several are inside another module.
    """
    blocks = attention_blocks(model)
    for path, part in (models_inside(model) or {"": model}).items():
        gone = gone_from([block for block in blocks if not path or block.name.startswith(f"{path}.")])
        before = getattr(part, "config", None)
        if not gone or not isinstance(before, PreTrainedConfig):
            continue
        config = copy.copy(before)  # other models may have been built from the same one
        config.pruned_heads = {block: list(heads) for block, heads in enumerate(gone.by_block()) if heads}
        for module in part.modules():
            held = vars(module).get("config")
            holder = vars(held) if isinstance(held, OwnCounts) else vars(module)
            if holder.get("config") is before:
                holder["config"] = config
        # Tables that transformers leaves out and computes anew, which need not be those that were loaded.
        vars(part)["_keys_to_ignore_on_save"] = None


@contextmanager
def _all_or_nothing(model: nn.Module) -> Iterator[None]:
    """If the block raises, the modules get back what they held; it may replace weights but not change them."""
    states: list[dict[str, Any]] = []  # what holds all that `remove_heads` sets: modules, and objects of ours on them
    for module in model.modules():
        values = list(vars(module).values())
        states += [vars(module), *(value for value in values if isinstance(value, dict))]
        states += [vars(x) for x in values if type(x).__module__.startswith("prune_heads.") and hasattr(x, "__dict__")]
    before = [state.copy() for state in states]
    try:
        yield
    except BaseException:
        for state, held in zip(states, before, strict=True):
            state.clear()
            state.update(held)
        raise


def _check_writable(blocks: Sequence[AttentionBlock], chosen: Sequence[AttentionBlock]) -> None:
    """Refuse blocks whose weights cannot be zeroed or narrowed for good, before anything is written."""
    written = {block.module for block in chosen}
    owners: dict[int, AttentionBlock] = {}
    for block in blocks:
        for module, name, *_ in block.owned(()):
            if block.module in written and (reason := why_not_plain(module, name)):
                must = f"{block.name} must hold its weights as plain parameters to be zeroed or removed; {reason}"
                how = "torch.nn.utils.prune.remove, remove_weight_norm, remove_parametrizations, merge, no offloading"
                raise UnsupportedModelError(f"{must}. Gate the heads, or make the weights plain first ({how})")
            owner = owners.setdefault(id(module._parameters.get(name, block)), block)
            if owner.module is not block.module and written & {owner.module, block.module}:
                must = f"{block.name} must have weights of its own to be zeroed or removed; its {name} is that of"
                raise UnsupportedModelError(f"{must} {owner.name}. Gate the heads, or give each block a copy")


def why_not_plain(module: nn.Module, name: str) -> str:
    """Why a weight that is written would not be what the module computes with; empty where it would."""
    weight, kind = module._parameters.get(name), type(module).__name__
    if weight is None or getattr(module, name) is not weight:
        return f"the {name} of a {kind} is computed anew from other weights"
    if type(weight.data) is not Tensor:
        return f"the {name} of a {kind} is a {type(weight.data).__name__}"
    if weight.is_meta:  # offloaded, unless the model is just being built and its weights are still to come
        return f"the {name} of a {kind} is kept elsewhere (on the meta device)" if hasattr(module, "_hf_hook") else ""
    if weight.is_inference() and not torch.is_inference_mode_enabled():
        return f"the {name} of a {kind} was made in inference mode, which forbids to write"
    if name != "weight" or not isinstance(module, nn.Linear | Conv1D):
        return ""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    if besides := [other for other, _ in tensors if other not in ("weight", "bias")]:
        return f"a {kind} also computes with {', '.join(besides)}"
    if "forward" not in vars(module) and type(module).forward in (nn.Linear.forward, Conv1D.forward):
        return ""
    matrix = weight.T if isinstance(module, Conv1D) else weight
    x = torch.linspace(-1, 2, matrix.shape[1], device=weight.device).to(weight.dtype)[None]
    with torch.no_grad():  # a forward of its own may compute what weight and bias say
        wanted, got = functional.linear(x, matrix, module.bias), module.forward(x)
    tolerance = 1e-4 if weight.dtype in (torch.float32, torch.float64) else 5e-2
    apart = (got - wanted).abs().max() if got.numel() else torch.tensor(0.0)
    is_linear = got.shape == wanted.shape and apart <= tolerance * wanted.abs().max().clamp(min=1)
    return "" if is_linear else f"the forward of a {kind} is not that of its weights"
