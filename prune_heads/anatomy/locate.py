"""`attention_blocks`: the attention blocks of a model, in order, or a refusal. Never a guess."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from torch import nn
from transformers import PreTrainedModel

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.families import FAMILIES, UNKNOWN
from prune_heads.anatomy.heads_of import owned_dimensions
from prune_heads.anatomy.layout import Layout
from prune_heads.anatomy.own import own_layout
from prune_heads.anatomy.projection import find_projection, has, named_modules, there, written
from prune_heads.descriptors import letter_of
from prune_heads.errors import UnsupportedModelError

_RECORD = "prune_heads_record"


@dataclass(frozen=True)
class RemovalRecord:
    """Left on an attention module by `remove_heads`, so that the original numbering stays valid."""

    n_original_heads: int
    head_dim: int
    heads: tuple[int, ...]
    """Original indices (from 0) of the heads that are still there."""


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
        raise UnsupportedModelError(
            f"the model must be the transformers model itself; got {type(model).__name__} around it. Take model.module"
        )
    parts = models_inside(model)
    if "" in parts or not parts:
        blocks = _blocks(model)
    else:
        paths = tuple(f"{path}." for path in parts)
        own = _of_own(model, outside=paths)
        blocks = _joined([*map(_blocks, parts.values(), paths), own])
    if blocks:
        return blocks
    types = [part.config.model_type for part in parts.values()] or [_type(model) or type(model).__name__]
    raise UnsupportedModelError(
        f"the model must be of a known type, or hold one as a submodule; got {', '.join(map(repr, types))}. "
        "'prune-heads models' lists the types; describe an attention class of your own with describe_attention"
    )


def models_inside(model: nn.Module) -> dict[str, PreTrainedModel]:
    """Path -> model of transformers, the outermost ones; the path is empty for the model itself."""
    if isinstance(itself := written(model), PreTrainedModel):
        return {"": itself}
    found: dict[str, PreTrainedModel] = {}
    for name, module in named_modules(model):
        if isinstance(module, PreTrainedModel) and not f"{name}.".startswith(tuple(f"{path}." for path in found)):
            found[name] = module
    return found


def _type(model: nn.Module) -> str:
    """Empty outside transformers."""
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    return model_type if isinstance(model_type, str) else ""


def _blocks(model: nn.Module, prefix: str = "") -> list[AttentionBlock]:
    """Those of one model of a family, or outside transformers; `prefix` is its path. None if it has none."""
    model_type, config = _type(model), getattr(model, "config", None)
    if model_type in UNKNOWN:
        raise UnsupportedModelError(f"the heads of a {model_type!r} model are not understood: {UNKNOWN[model_type]}")
    if model_type not in FAMILIES:
        return _of_own(model, prefix, described_only=bool(model_type))
    if getattr(config, "add_cross_attention", False):
        raise UnsupportedModelError(
            f"a {model_type!r} model must have self-attention only; this one has cross-attention, whose heads are "
            "not known here (add_cross_attention in its configuration)"
        )
    layouts = list(_that_hold(FAMILIES[model_type], config))
    if not layouts:
        names = dict.fromkeys(name for layout in FAMILIES[model_type] for name, _ in layout.when)
        raise UnsupportedModelError(
            f"the attention of a {model_type!r} model is not understood with "
            f"{', '.join(f'{name}={getattr(config, name, None)!r}' for name in names)} in its configuration"
        )
    return [block for layout in layouts for block in _of_layout(model, model_type, layout, prefix)]


def _joined(groups: Iterable[Sequence[AttentionBlock]]) -> list[AttentionBlock]:
    """The blocks of several models, the layers of each counted on from those of its kind before it."""
    blocks: list[AttentionBlock] = []
    for group in groups:
        n_layers = {block.letter: block.layer + 1 for block in blocks}
        blocks += [replace(block, layer=block.layer + n_layers.get(block.letter, 0)) for block in group]
    return blocks


def _that_hold(layouts: Iterable[Layout], config: object) -> Iterator[Layout]:
    """Those for what the configuration says."""
    for layout in layouts:
        if all((getattr(config, name, None) or False) == value for name, value in layout.when):  # absent is off
            name, value, why = layout.not_removed_if or ("", object(), "")
            refused = getattr(config, name, None) == value
            yield replace(layout, not_removed=f"{why} ({name} in its configuration)") if refused else layout


def _of_own(
    model: nn.Module, prefix: str = "", *, described_only: bool = False, outside: tuple[str, ...] = ()
) -> list[AttentionBlock]:
    """Attention outside the families: encoder, encoder-decoder, decoder, each in the order of the modules."""
    found: dict[str, list[AttentionBlock]] = {"E": [], "A": [], "D": []}
    for name, module in named_modules(model):
        if f"{name}.".startswith(outside):
            continue
        if at := own_layout(model, name, module, described_only=described_only):
            layout, whole = at
            of_kind = found[letter_of(layout.kind, layout.stack)]
            shown = f"{prefix}{name}" or type(module).__name__
            of_kind.append(_block(shown, len(of_kind), module, whole, layout))
    return [block for blocks in found.values() for block in blocks]


def leave_record(block: AttentionBlock, heads: tuple[int, ...]) -> None:
    """Note on the module which original heads (from 0) are left in it."""
    record = RemovalRecord(block.n_original_heads, block.head_dim, heads)
    setattr(block.module, _RECORD, record)


def _of_layout(model: nn.Module, model_type: str, layout: Layout, prefix: str) -> Iterator[AttentionBlock]:
    ends_with = re.compile(rf"(?:^|\.){layout.pattern}$")
    found = sorted(
        (
            (
                tuple(map(int, match.groups())),
                name,
                module,
                written(model.get_submodule(name[: match.end(match.lastindex or 0)])),
            )
            for name, module in named_modules(model)
            if (match := ends_with.search(name)) and (has(module, layout.output) or not layout.some_layers)
        ),
        key=lambda row: row[0],
    )
    layers = [layer for layer, *_ in found]
    in_turn = len(layers[0]) > 1 or layers == [(i,) for i in range(len(found))] if found else False
    if not found or not (in_turn or layout.some_layers):
        raise UnsupportedModelError(
            f"a {model_type!r} model must have its layers at '...{layout.pattern}', numbered from 0; "
            f"found {[name for _, name, *_ in found] or 'none'}"
        )
    blocks = [
        (numbers, _block(prefix + name, numbers[0] if len(numbers) == 1 else i, module, whole, layout))
        for i, (numbers, name, module, whole) in enumerate(found)
    ]
    if layout.depths is None:
        yield from (block for _, block in blocks)
    else:
        yield from _in_calls(blocks, int(getattr(model.config, layout.depths)))


def _in_calls(blocks: list[tuple[tuple[int, ...], AttentionBlock]], n_layers: int) -> Iterator[AttentionBlock]:
    """ALBERT's groups of layers, each called for its equal share of a model's layers, in the order of the calls."""
    n_groups = len({numbers[0] for numbers, _ in blocks})
    group_of = [int(i / (n_layers / n_groups)) for i in range(n_layers)]  # as transformers' AlbertTransformer
    layer = 0
    for i, group in enumerate(group_of):
        depth, n_depths = i - group_of.index(group), group_of.count(group)
        for numbers, block in blocks:
            if numbers[0] == group:
                yield replace(block, layer=layer, depth=depth, n_depths=n_depths)
                layer += 1


def _block(name: str, layer: int, module: nn.Module, whole: nn.Module, layout: Layout) -> AttentionBlock:
    paths = layout.qkv.split() if " " in layout.qkv else [layout.qkv] * 3
    held_by = {part: there(module, path) for part, path in zip("QKV", paths, strict=True)}
    inputs = {path: find_projection(module, path, name) for path in held_by.values()}
    output = find_projection(module, layout.output, name, gives_output=True)
    width = output.weight.shape[1]
    record: RemovalRecord | None = getattr(module, _RECORD, None)
    if record is None:
        n_heads = _n_heads(module, layout, width, name)
        record = RemovalRecord(n_heads, width // n_heads, tuple(range(n_heads)))
    sizes = {path: projection.weight.shape[0] for path, projection in inputs.items()}
    n_heads = len(record.heads)
    try:
        owned = owned_dimensions(held_by, sizes, n_heads, width, interleaved=layout.interleaved)
        if width != n_heads * record.head_dim:
            raise ValueError(f"the input of W_O is {width} wide")
    except ValueError as error:
        raise UnsupportedModelError(
            f"{name} has {n_heads} heads of {record.head_dim} dimensions, and its weights must fit them; {error}"
        ) from error
    d = record.head_dim
    return AttentionBlock(
        name=name,
        kind=layout.kind,
        stack=layout.stack,
        layer=layer,
        head_dim=d,
        original_heads=record.heads,
        n_original_heads=record.n_original_heads,
        module=module,
        layer_module=whole,
        query=replace(inputs[held_by["Q"]], heads=owned["Q"]),
        key=replace(inputs[held_by["K"]], heads=owned["K"]),
        value=replace(inputs[held_by["V"]], heads=owned["V"]),
        output=replace(output, heads=tuple(range(i * d, (i + 1) * d) for i in range(n_heads))),
        layout=layout,
    )


def _n_heads(module: nn.Module, layout: Layout, width: int, name: str) -> int:
    """As the module itself says, by its number of heads or by the dimensions of one."""
    try:
        count = layout.n_heads or attrgetter(layout.counted_by)(module)
    except AttributeError:
        count = None
    if not isinstance(count, int) or count < 1 or width % count:
        raise UnsupportedModelError(
            f"{name}.{layout.counted_by or 'n_heads'} must be a whole number that divides W_O's input ({width}); "
            f"got {count}"
        )
    return width // count if layout.counts_dimensions else count
