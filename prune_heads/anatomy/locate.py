"""`attention_blocks`: the attention blocks of a model, in order, or a refusal. Never a guess."""

import re
from dataclasses import dataclass

from torch import nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.families import FAMILIES, Family
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
    """The attention blocks of a transformers model, from the first layer to the last.

    Raises:
        UnsupportedModelError: If the model's type has no row in `FAMILIES`, or its modules are not
            shaped as that row says.
    """
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnsupportedModelError(
            f"the model must be of a known type; got {model_type or type(model).__name__!r}. "
            f"Known types: {', '.join(FAMILIES)}"
        )
    if getattr(config, "add_cross_attention", False):
        raise UnsupportedModelError(
            f"a {model_type!r} model must have self-attention only; this one has cross-attention, whose heads are "
            "not known here (add_cross_attention in its configuration)"
        )
    family = FAMILIES[model_type]
    ends_with = re.compile(rf"(?:^|\.){family.pattern}$")
    found = [
        (int(match[1]), name, module, model.get_submodule(name[: match.end(1)]))
        for name, module in model.named_modules()
        if (match := ends_with.search(name))
    ]
    found.sort(key=lambda row: row[0])
    if not found or [layer for layer, *_ in found] != list(range(len(found))):
        raise UnsupportedModelError(
            f"a {model_type!r} model must have its layers at '...{family.pattern}', numbered from 0; "
            f"found {[name for _, name, *_ in found] or 'none'}"
        )
    n_heads = int(getattr(config, family.n_heads))
    return [_block(name, layer, module, whole, family, n_heads) for layer, name, module, whole in found]


def leave_record(block: AttentionBlock, heads: tuple[int, ...]) -> None:
    """Note on the module which original heads (from 0) are left in it."""
    record = RemovalRecord(block.n_original_heads, block.head_dim, heads)
    setattr(block.module, _RECORD, record)


def _block(
    name: str, layer: int, module: nn.Module, whole: nn.Module, family: Family, n_heads: int
) -> AttentionBlock:
    paths = (family.query, family.key, family.value, family.output)
    query, key, value, output = (_linear(module, path, name) for path in paths)
    record: RemovalRecord | None = getattr(module, _RECORD, None)
    if record is None:
        record = RemovalRecord(n_heads, query.out_features // n_heads, tuple(range(n_heads)))
    width = len(record.heads) * record.head_dim
    sizes = (query.out_features, key.out_features, value.out_features, output.in_features)
    if set(sizes) != {width}:
        raise UnsupportedModelError(
            f"{name} has {len(record.heads)} heads of {record.head_dim} dimensions, so the outputs of W_Q, "
            f"W_K and W_V and the input of W_O must be {width} wide; got {', '.join(map(str, sizes))}"
        )
    return AttentionBlock(
        name=name,
        kind=family.kind,
        stack=family.stack,
        layer=layer,
        n_heads=len(record.heads),
        n_kv_heads=len(record.heads),
        head_dim=record.head_dim,
        original_heads=record.heads,
        n_original_heads=record.n_original_heads,
        module=module,
        layer_module=whole,
        query=query,
        key=key,
        value=value,
        output=output,
        counters=tuple(
            (*_parent(module, path), record.head_dim if in_dimensions else 1)
            for path, in_dimensions in family.counters
        ),
    )


def _linear(block: nn.Module, path: str, name: str) -> nn.Linear:
    try:
        module = block.get_submodule(path)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Linear):
        raise UnsupportedModelError(
            f"{name}.{path} must be a torch.nn.Linear; got {type(module).__name__ if module else 'nothing'}"
        )
    return module


def _parent(block: nn.Module, path: str) -> tuple[nn.Module, str]:
    parent, _, attribute = path.rpartition(".")
    return block.get_submodule(parent), attribute
