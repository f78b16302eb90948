"""The inverse of removing heads: original shapes with zeros where heads were, for plain transformers."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from prune_heads.anatomy import attention_blocks
from prune_heads.errors import CheckpointError
from prune_heads.surgery import remove_heads, removed_heads


def dense_model(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the original shapes that computes what a model with removed heads computes.

    Where an element of a narrow weight belongs is not worked out a second time: `remove_heads` takes the same heads
    out of a model whose weights hold their own places, and the places that are left tell. So it holds for every
    layout that heads are removed from.

    Args:
        model: With or without removed heads; it stays as it is.

    Returns:
        Another model, on the CPU and in evaluation mode, every weight of its old dtype; zero where heads were.

    Raises:
        CheckpointError: If a weight does not have the shape that removing these heads leaves.
    """
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten below
        dense = _whole(model)
    # Tables that transformers leaves out and computes anew, which need not be those that were loaded.
    vars(dense)["_keys_to_ignore_on_save"] = None
    places, narrow = _places(model), model.state_dict()
    for name, tensor in dense.state_dict(keep_vars=True).items():
        left = places.get(name)
        wanted = tensor.shape if left is None else left.shape
        came = narrow[name].cpu() if name in narrow else None
        if came is None or came.shape != wanted:
            raise CheckpointError(
                f"the weights must have the shapes that removing heads leaves; {name} must be {tuple(wanted)}, got "
                f"{None if came is None else tuple(came.shape)}. Name a checkpoint that 'prune-heads prune' has written"
            )
        tensor.data = came.clone() if left is None else _spread(came, left, tensor.shape)
    return dense.eval()


def _whole(model: PreTrainedModel) -> PreTrainedModel:
    """Another model of the same configuration, with all heads."""
    config = copy.deepcopy(model.config)
    vars(config).pop("pruned_heads", None)
    return type(model)(config)


def _places(model: PreTrainedModel) -> Mapping[str, Tensor]:
    """Of each weight in the attention blocks, which elements are left: flat places in the original, narrow shape."""
    with torch.device("meta"):  # nothing else of the model is needed, and heads own nothing outside the blocks
        counted = _whole(model).to("meta")  # also what is put on the CPU by name
    for block in attention_blocks(counted):
        for module in block.module.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                # A parameter must be floating-point to be narrowed as one; float64 counts to 2**53 without a gap.
                count = torch.arange(weight.numel(), dtype=torch.float64, device="cpu").view(weight.shape)
                setattr(module, name, nn.Parameter(count, requires_grad=False))
    remove_heads(counted, removed_heads(model))
    weights = counted.named_parameters(remove_duplicate=False)
    return {name: weight.detach().long() for name, weight in weights if not weight.is_meta}


def _spread(narrow: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
    """The elements at their places in a tensor of this shape, zeros elsewhere."""
    wide = torch.zeros(shape, dtype=narrow.dtype)
    wide.view(-1)[places.flatten()] = narrow.flatten()
    return wide
