"""That a model computes with a map: rows sum to one, each is of one query, and another map changes the output."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.attention.reading import MUST_SHOW, TOLERANCE, Attention, observing
from prune_heads.errors import UnsupportedModelError
from prune_heads.verification import compared, differ, has_output


@torch.no_grad()
def unproved_maps(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Blocks whose map is none that can be looked at, by name, and why; see `prove_maps`."""
    faults: dict[str, str] = {}
    with observing(model) as observe:
        output, seen = observe(**inputs)
    reference = compared(output)
    for each in seen:
        name = each.block.name
        if each.map is None:
            faults[name] = f"{MUST_SHOW}; that of {name} is not"
        elif float((each.map.float().sum(dim=-1) - 1).abs().max()) > 1e-2:
            faults[name] = f"the attention of each query must sum to one; that of {name} does not: it has a sink"
        elif each.values is None and not _is_of_queries(model, each, inputs):
            faults[name] = f"a row of a map must be of one query; that of {name} changes what other queries get"
        elif has_output(each.block):
            with observing(model, {each.block.module: lambda map: map.roll(1, dims=-1)}) as observe:
                if not differ(compared(observe(**inputs)[0]), reference):
                    faults[name] = f"another attention map must change the output; that of {name} does not"
    return faults


def _is_of_queries(model: nn.Module, seen: Attention, inputs: Mapping[str, Any]) -> bool:
    """Whether another last row of the map changes what W_O is given for the last query, and for no other.

    It changes others where the map is only a factor of what the kernel computes with.
    """

    def changed(map: Tensor) -> Tensor:
        return torch.cat([map[..., :-1, :], map[..., -1:, :].roll(1, dims=-1)], dim=-2)

    with observing(model, {seen.block.module: changed}) as observe:
        after = next(each for each in observe(**inputs)[1] if each.block.name == seen.block.name)
    apart = (after.context - seen.context).abs().amax(dim=(0, 2, 3)) / seen.context.abs().max()
    return bool((apart[:-1] <= TOLERANCE).all() and apart[-1] > TOLERANCE)


def prove_maps(model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Check on one text that rows of each map sum to one, and that another map of a block changes the output.

    One forward pass a block, and one as it is. Blocks whose heads have all been zeroed need not change the output.

    Args:
        model: In evaluation mode.
        inputs: A tokenised batch of one text without padding.

    Raises:
        UnsupportedModelError: Naming the blocks of which it does not hold.
    """
    if faults := unproved_maps(model, inputs):
        raise UnsupportedModelError(f"{next(iter(faults.values()))}. Of such blocks it has {len(faults)}")
