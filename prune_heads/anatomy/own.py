"""Attention outside transformers: PyTorch's own modules, and classes that the user has described."""

from dataclasses import replace

from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from prune_heads.anatomy.block import written
from prune_heads.anatomy.families import Kind, Layout, Stack
from prune_heads.errors import UnsupportedModelError

_TORCH = Layout(
    pattern="",
    qkv="in_proj_weight",
    output="out_proj",
    counted_by="num_heads",
    counters=("num_heads",),
    context="multihead",
)

_DESCRIBED: dict[type[nn.Module], Layout] = {}


def describe_attention(
    attention: type[nn.Module],
    *,
    query: str,
    key: str,
    value: str,
    output: str,
    n_heads: str | int,
    n_kv_heads: str = "",
    width: str = "",
    interleaved: bool = False,
    kind: Kind = "self",
    stack: Stack = "encoder",
) -> None:
    """Describe where the heads of your own attention class are; all modules of exactly this class are then found.

    W_O must be called as a module, with the heads' outputs side by side, `(batch, tokens, n_heads * head_dim)`.
    To have heads removed, the forward must go by the attributes named here, which follow.

    Args:
        attention: The class; a second description replaces the first.
        query: Path of W_Q, an `nn.Linear`, from the module. Equal paths for W_Q, W_K and W_V: one map that holds them
            in this order.
        key: Path of W_K.
        value: Path of W_V.
        output: Path of W_O.
        n_heads: Attribute that holds the number of heads; or the number itself, then heads cannot be removed.
        n_kv_heads: Attribute that holds the number of key and value heads, if heads share them by groups.
        width: Attribute that holds `n_heads * head_dim`, if the forward needs it.
        interleaved: Whether a map that holds several projections keeps them head by head.
        kind: `cross` for attention to another sequence.
        stack: `decoder` for blocks of a decoder beside an encoder.
    """
    counted = n_heads if isinstance(n_heads, str) else ""
    _DESCRIBED[attention] = Layout(
        pattern="",
        qkv=f"{query} {key} {value}",
        output=output,
        counted_by=counted,
        n_heads=None if counted else int(n_heads),
        counters=tuple(name for name in (counted, n_kv_heads, width) if name),
        interleaved=interleaved,
        kind=kind,
        stack=stack,
        not_removed="" if counted else "its number of heads was given as a number, which no attribute can follow",
    )


def own_layout(
    model: nn.Module, name: str, module: nn.Module, *, described_only: bool
) -> tuple[Layout, nn.Module] | None:
    """How an attention module outside the families is laid out, and the layer around it; None for any other module.

    Args:
        model: That holds it.
        name: Its path there.
        module: The module; the layer is itself where it is not known.
        described_only: Leave PyTorch's own out.

    Raises:
        UnsupportedModelError: If it is one of PyTorch's of a kind that is not handled.
    """
    if layout := _DESCRIBED.get(type_before_parametrizations(module)):
        return layout, module
    if described_only or not isinstance(module, nn.MultiheadAttention):
        return None
    if type(module) is not nn.MultiheadAttention:
        raise UnsupportedModelError(
            f"{name} must be an nn.MultiheadAttention itself; got the subclass {type(module).__name__}, whose forward "
            "may be another. Describe it with describe_attention"
        )
    other = ""
    if module.in_proj_weight is None:
        other = "its keys or values have another width than its queries (kdim, vdim)"
    elif module.bias_k is not None or module.bias_v is not None or module.add_zero_attn:
        other = "it adds keys and values that no token has (add_bias_kv, add_zero_attn)"
    if other:
        raise UnsupportedModelError(f"{name} must be as nn.Transformer builds it; {other}")
    parent = written(model.get_submodule(name.rpartition(".")[0]) if name else model)
    if not isinstance(parent, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        return _TORCH, module
    stack: Stack = "decoder" if isinstance(parent, nn.TransformerDecoderLayer) else "encoder"
    kind: Kind = "cross" if name.endswith("multihead_attn") else "self"
    return replace(_TORCH, kind=kind, stack=stack), parent
