"""That a model computes with a map: rows sum to one, each is of one query, and another map changes the output."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from prune_heads.attention.reading import MUST_SHOW, TOLERANCE, Attention, observing
from prune_heads.gating import evaluating
from prune_heads.verification import compared, differ, has_output


@torch.no_grad()
def unproved_maps(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, str]:
    """Blocks whose map is none that can be looked at, by name, and why.

    The rows of a map must sum to one, a row must be of one query, and another map must change the output, but where all
    heads of the block have been zeroed. One forward pass a block, and one as it is.

    Args:
        model: In evaluation mode.
        inputs: A tokenised batch of one text without padding.
    """
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


@contextmanager
def observing_proved(
    model: nn.Module, example: Mapping[str, Any]
) -> Iterator[tuple[Callable[..., list[Attention]], dict[str, str]]]:
    """As `observing`, in evaluation mode: what each block did, without its map where `unproved_maps` refuses it.

    Args:
        model: One that `attention_blocks` knows.
        example: A tokenised batch of one text, on which maps are proved.

    Returns:
        The function, and what `unproved_maps` says.
    """
    with evaluating(model):
        faults = unproved_maps(model, example)
        with observing(model) as observe:

            def observe_proved(**inputs: Any) -> list[Attention]:
                return [replace(each, map=None) if each.block.name in faults else each for each in observe(**inputs)[1]]

            yield observe_proved, faults
