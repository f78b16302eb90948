"""`attention_blocks`: the attention blocks of a model, in order, or a refusal. Never a guess."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, cast

from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.block import AttentionBlock, Projection, owned_dimensions
from prune_heads.anatomy.families import DESCRIBED, FAMILIES, TORCH, UNKNOWN, Layout
from prune_heads.descriptors import letter_of
from prune_heads.errors import UnsupportedModelError

Named = tuple[str, nn.Module]  # its path, and the module

_RECORD = "prune_heads_record"


class RemovalRecord(NamedTuple):
    """Left on an attention module by `remove_heads`, so that the original numbering stays valid."""

    n_original_heads: int
    head_dim: int
    original_heads: tuple[int, ...]  # indices (from 0) of the heads that are still there


def leave_record(block: AttentionBlock, heads: tuple[int, ...]) -> None:
    """Note on the module which original heads (from 0) are left in it."""
    setattr(block.module, _RECORD, RemovalRecord(block.n_original_heads, block.head_dim, heads))


def attention_blocks(model: nn.Module) -> list[AttentionBlock]:
    """The attention blocks of a model: encoder (E), encoder-decoder (A), decoder (D), layer by layer.

    A module that holds models of transformers has the blocks of each, in the order of the modules, and then its own;
    layers are counted on from one to the next.

    Args:
        model: Of transformers; or with such models, `nn.MultiheadAttention` or described classes
            (`describe_attention`) inside.

    Raises:
        UnsupportedModelError: If the model's type has no row in `FAMILIES`, or its modules are not
            shaped as that row says.
    """
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        must = f"the model itself must be given; got {type(model).__name__} around it. Take model.module"
        raise UnsupportedModelError(must)
    modules = [*named_modules(model)]  # walked once, for this is asked in every forward pass under gates
    parts: Mapping[str, nn.Module] = _outermost(modules) or {"": model}
    prefixes = _within(parts)
    inside = [modules if part is model else [*named_modules(part)] for part in parts.values()]
    groups = [list(_of_type(*each)) for each in zip(parts.values(), inside, prefixes, strict=True)]
    if "" not in parts:
        groups.append(list(_of_own(model, modules, outside=prefixes)))
    blocks: list[AttentionBlock] = []
    for group in groups:  # the layers of each model are counted on from those of its kind before it
        n_layers = {block.letter: block.layer + 1 for block in blocks}
        blocks += [replace(block, layer=block.layer + n_layers.get(block.letter, 0)) for block in group]
    if blocks:
        return blocks
    types = (_type(part) or type(part).__name__ for part in parts.values())
    must = f"the model must be of a known type, or hold one as a submodule; got {', '.join(map(repr, types))}"
    advice = "'prune-heads models' lists the types; describe an attention class of your own with describe_attention"
    raise UnsupportedModelError(f"{must}. {advice}")


def models_inside(model: nn.Module) -> dict[str, PreTrainedModel]:
    """Path -> model of transformers, the outermost ones; the path is empty for the model itself."""
    return _outermost(named_modules(model))


def _outermost(modules: Iterable[Named]) -> dict[str, PreTrainedModel]:
    found: dict[str, PreTrainedModel] = {}
    for name, module in modules:
        if isinstance(module, PreTrainedModel) and not f"{name}.".startswith(_within(found)):
            found[name] = module
    return found


def _within(paths: Iterable[str]) -> tuple[str, ...]:
    """How the paths of modules inside those at these paths begin."""
    return tuple(f"{path}." if path else "" for path in paths)


def _type(model: nn.Module) -> str:
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    return model_type if isinstance(model_type, str) else ""  # outside transformers


def _of_type(model: nn.Module, modules: Sequence[Named], prefix: str) -> Iterator[AttentionBlock]:
    """Those of one model of a family, or outside transformers; `prefix` is its path. None if it has none."""
    model_type, config = _type(model), getattr(model, "config", None)
    if model_type in UNKNOWN:
        raise UnsupportedModelError(f"the heads of a {model_type!r} model are not understood: {UNKNOWN[model_type]}")
    if model_type not in FAMILIES:
        yield from _of_own(model, modules, prefix, described_only=bool(model_type))
        return
    if getattr(config, "add_cross_attention", False):
        must = f"a {model_type!r} model must have self-attention only; its configuration says add_cross_attention"
        raise UnsupportedModelError(must)
    says = {name: getattr(config, name, None) for layout in FAMILIES[model_type] for name, _ in layout.when}
    layouts = [x for x in FAMILIES[model_type] if all((says[name] or False) == value for name, value in x.when)]
    if not layouts:
        fields = f"{', '.join(f'{name}={value!r}' for name, value in says.items())} in its configuration"
        raise UnsupportedModelError(f"the attention of a {model_type!r} model is not understood with {fields}")
    for layout in layouts:
        name, value, why = layout.stays_if or ("", object(), "")
        if getattr(config, name, None) == value:
            layout = replace(layout, stays=f"{why} ({name} in its configuration)")
        yield from _of_layout(model, modules, model_type, layout, prefix)


def _of_own(
    model: nn.Module,
    modules: Iterable[Named],
    prefix: str = "",
    *,
    described_only: bool = False,
    outside: tuple[str, ...] = (),
) -> Iterator[AttentionBlock]:
    """Attention outside the families: encoder, encoder-decoder, decoder, each in the order of the modules."""
    found: dict[str, list[AttentionBlock]] = {"E": [], "A": [], "D": []}
    for name, module in modules:
        if f"{name}.".startswith(outside):
            continue
        layout, whole = DESCRIBED.get(type_before_parametrizations(module)), module
        if layout is None and isinstance(module, nn.MultiheadAttention) and not described_only:
            why, kind = "", type(module)
            if kind is not nn.MultiheadAttention:
                why = f"got the subclass {kind.__name__}, whose forward may differ. Describe it with describe_attention"
            elif module.in_proj_weight is None:
                why = "its keys or values have another width than its queries (kdim, vdim)"
            elif module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
                why = "it adds keys and values that no token has (add_bias_kv, add_zero_attn)"
            if why:
                raise UnsupportedModelError(f"{name} must be as nn.Transformer builds it; {why}")
            layout, whole = TORCH, written(model.get_submodule(name.rpartition(".")[0]) if name else model)
            if isinstance(whole, nn.TransformerDecoderLayer):
                layout = replace(TORCH, kind="cross" if name.endswith("multihead_attn") else "self", stack="decoder")
            elif not isinstance(whole, nn.TransformerEncoderLayer):
                whole = module  # the layer is not known
        if layout is not None:
            of_kind = found[letter_of(layout.kind, layout.stack)]
            shown = f"{prefix}{name}" or type(module).__name__
            of_kind.append(_block(shown, len(of_kind), module, whole, layout))
    for blocks in found.values():
        yield from blocks


def _of_layout(
    model: nn.Module, modules: Iterable[Named], model_type: str, layout: Layout, prefix: str
) -> Iterator[AttentionBlock]:
    ends_with = re.compile(rf"(?:^|\.){layout.pattern}$")
    found = []
    for name, module in modules:
        match = ends_with.search(name)
        if match and (not layout.some_layers or at(module, layout.output) is not None):
            whole = written(model.get_submodule(name[: match.end(match.lastindex or 0)]))
            found.append((tuple(map(int, match.groups())), name, module, whole))
    found.sort(key=itemgetter(0))
    layers = [layer for layer, *_ in found]
    in_turn = bool(found) and (len(layers[0]) > 1 or layers == [(i,) for i in range(len(found))])
    if not found or not (in_turn or layout.some_layers):
        must = f"a {model_type!r} model must have its layers at '...{layout.pattern}', numbered from 0"
        raise UnsupportedModelError(f"{must}; found {[name for _, name, *_ in found] or 'none'}")
    blocks = [
        _block(prefix + name, numbers[0] if len(numbers) == 1 else i, module, whole, layout)
        for i, (numbers, name, module, whole) in enumerate(found)
    ]
    if layout.depths is None:
        yield from blocks
        return
    # ALBERT's groups of layers, each called for its equal share of a model's layers, in the order of the calls.
    n_layers, n_groups = int(getattr(model.config, layout.depths)), len({group for group, *_ in layers})
    group_of = [int(i / (n_layers / n_groups)) for i in range(n_layers)]  # as transformers' AlbertTransformer
    of_group = [[block for (of, *_), block in zip(layers, blocks, strict=True) if of == i] for i in range(n_groups)]
    calls = [(i, group, block) for i, group in enumerate(group_of) for block in of_group[group]]
    for layer, (i, group, block) in enumerate(calls):
        yield replace(block, layer=layer, depth=i - group_of.index(group), n_depths=group_of.count(group))


def _block(name: str, layer: int, module: nn.Module, whole: nn.Module, layout: Layout) -> AttentionBlock:
    held_by = {}
    for part, paths in zip("QKV", layout.qkv.split() if " " in layout.qkv else [layout.qkv] * 3, strict=True):
        *first, last = paths.split("|")
        held_by[part] = next((path for path in first if at(module, path) is not None), last)
    inputs = {path: _projection(module, path, name) for path in held_by.values()}
    output = _projection(module, layout.output, name, gives_output=True)
    width = output.weight.shape[1]
    record: RemovalRecord | None = getattr(module, _RECORD, None)
    if record is None:
        count = layout.n_heads or at(module, layout.counted_by)  # as the module itself says
        if not isinstance(count, int) or count < 1 or width % count:
            must = f"{name}.{layout.counted_by or 'n_heads'} must be a whole number that divides W_O's input ({width})"
            raise UnsupportedModelError(f"{must}; got {count}")
        n_heads = width // count if layout.counts_dimensions else count
        record = RemovalRecord(n_heads, width // n_heads, tuple(range(n_heads)))
    sizes = {path: projection.weight.shape[0] for path, projection in inputs.items()}
    n_heads, d = len(record.original_heads), record.head_dim
    try:
        owned = owned_dimensions(held_by, sizes, n_heads, width, interleaved=layout.interleaved)
        if width != n_heads * d:
            raise ValueError(f"the input of W_O is {width} wide")
    except ValueError as error:
        must = f"{name} has {n_heads} heads of {d} dimensions, and its weights must fit them"
        raise UnsupportedModelError(f"{must}; {error}") from error
    query, key, value = (replace(inputs[held_by[part]], heads=owned[part]) for part in "QKV")
    output = replace(output, heads=tuple(range(i * d, (i + 1) * d) for i in range(n_heads)))
    place: dict[str, Any] = {"name": name, "kind": layout.kind, "stack": layout.stack, "layer": layer}
    parts: dict[str, Any] = {"query": query, "key": key, "value": value, "output": output}
    return AttentionBlock(**place, **record._asdict(), **parts, module=module, layer_module=whole, layout=layout)


def _projection(block: nn.Module, path: str, name: str, *, gives_output: bool = False) -> Projection:
    """A linear map at a path of an attention module, whose name is for messages, without the heads that own it.

    Or a parameter: a matrix with its bias beside it (`in_proj_weight`, `in_proj_bias`), or `(width, heads, dims)`.
    """
    thing = at(block, path)
    thing = written(thing) if isinstance(thing, nn.Module) else thing
    if isinstance(thing, Tensor) and thing.ndim in (2, 3):
        holder, _, own = path.rpartition(".")
        names = (own, own.replace("weight", "bias") if "weight" in own else "")
        return Projection(block.get_submodule(holder), names=names, turned=thing.ndim == 3 and not gives_output)
    weight = getattr(thing, "weight", None)
    has_matrix = isinstance(weight, Tensor) and weight.ndim == 2 and weight.is_floating_point()
    if not isinstance(thing, nn.Linear | Conv1D) or not has_matrix:
        came = "nothing" if thing is None else f"{type(thing).__module__}.{type(thing).__name__}"
        if isinstance(weight, Tensor):
            came += f" with a {type(weight).__name__} of {weight.dtype}, {tuple(weight.shape)}"
        must = f"{name}.{path} must be a torch.nn.Linear or a Conv1D with a plain matrix as its weight; got {came}"
        raise UnsupportedModelError(f"{must}. Merge adapters into the model, and load it without quantisation")
    return Projection(thing, turned=isinstance(thing, Conv1D))


def written(module: nn.Module) -> nn.Module:
    """The module that torch.compile has put a wrapper around; the module itself where there is none."""
    # Not getattr: a missing attribute of a module takes longer than all else that is done with it here.
    return cast(nn.Module, module._orig_mod if "_orig_mod" in vars(module).get("_modules", ()) else module)


def named_modules(model: nn.Module) -> Iterator[Named]:
    """The modules of a model under the names that they have before anything is compiled; wrappers are left out.

    In the order of torch's own, which nests a generator in each level.
    """
    seen, left = set[nn.Module](), [("", model)]
    while left:
        path, module = left.pop()
        if module not in seen:
            seen.add(module)
            if written(module) is module:
                yield path, module
            for name, below in reversed(module._modules.items()):
                if below is not None:
                    left.append((path if name == "_orig_mod" else f"{path}.{name}" if path else name, below))


def at(module: nn.Module, path: str) -> object:
    """What stands at a path of a module; None where there is nothing."""
    try:
        return attrgetter(path)(module) if path else None
    except AttributeError:
        return None
