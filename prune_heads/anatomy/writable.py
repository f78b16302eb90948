"""Checks that weights of a block can be written: the change must last and must affect nothing else."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.errors import UnsupportedModelError

_PLAIN = (nn.Linear.forward, Conv1D.forward)


def check_writable(blocks: Sequence[AttentionBlock], chosen: Sequence[AttentionBlock]) -> None:
    """Refuse blocks whose weights cannot be zeroed or narrowed for good, before anything is written.

    Args:
        blocks: All of the model.
        chosen: Those whose weights will be written.

    Raises:
        UnsupportedModelError: If a weight is computed from others at every forward pass (pruning masks, weight norms,
            parametrisations, adapters), is kept elsewhere, or belongs to another block too.
    """
    for block in chosen:
        for module, name in _weights(block):
            if reason := _why_not(module, name):
                raise UnsupportedModelError(
                    f"{block.name} must hold its weights as plain parameters to be zeroed or removed; {reason}. Gate "
                    "the heads, or make the weights plain first (torch.nn.utils.prune.remove, remove_weight_norm, "
                    "parametrize.remove_parametrizations, merging the adapter, loading without offloading)"
                )
    written = {block.module for block in chosen}
    owners: dict[int, AttentionBlock] = {}
    for block in blocks:
        for module, name in _weights(block):
            owner = owners.setdefault(id(module._parameters.get(name, block)), block)
            if owner.module is not block.module and written & {owner.module, block.module}:
                raise UnsupportedModelError(
                    f"{block.name} must have weights of its own to be zeroed or removed; its {name} is that of "
                    f"{owner.name}. Gate the heads, or give each block a copy"
                )


def _weights(block: AttentionBlock) -> Iterator[tuple[nn.Module, str]]:
    """Module and name of each weight and bias that heads own."""
    return ((owned.module, owned.name) for owned in block.owned(()))


def _why_not(module: nn.Module, name: str) -> str:
    """Why a weight that is written would not be what the module computes with; empty where it would."""
    weight = module._parameters.get(name)
    if weight is None or getattr(module, name) is not weight:
        return f"the {name} of a {type(module).__name__} is computed anew from other weights"
    if type(weight.data) is not Tensor:
        return f"the {name} of a {type(module).__name__} is a {type(weight.data).__name__}"
    if weight.is_meta:  # offloaded, unless the model is just being built and its weights are still to come
        offloaded = hasattr(module, "_hf_hook")
        return f"the {name} of a {type(module).__name__} is kept elsewhere (on the meta device)" if offloaded else ""
    if weight.is_inference() and not torch.is_inference_mode_enabled():
        return f"the {name} of a {type(module).__name__} was made in inference mode, which forbids to write"
    if name != "weight" or not isinstance(module, nn.Linear | Conv1D):
        return ""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    if besides := [other for other, _ in tensors if other not in ("weight", "bias")]:
        return f"a {type(module).__name__} also computes with {', '.join(besides)}"
    if "forward" not in vars(module) and type(module).forward in _PLAIN:
        return ""
    return "" if _is_linear(module) else f"the forward of a {type(module).__name__} is not that of its weights"


@torch.no_grad()
def _is_linear(module: nn.Linear | Conv1D) -> bool:
    """Whether a forward of its own computes what weight and bias say, on one input."""
    weight = module.weight.T if isinstance(module, Conv1D) else module.weight
    x = torch.linspace(-1, 2, weight.shape[1], device=weight.device).to(weight.dtype)[None]
    wanted, got = functional.linear(x, weight, module.bias), module.forward(x)
    tolerance = 1e-4 if weight.dtype in (torch.float32, torch.float64) else 5e-2
    apart = (got - wanted).abs().max() if got.numel() else torch.tensor(0.0)
    return bool(got.shape == wanted.shape and apart <= tolerance * wanted.abs().max().clamp(min=1))
