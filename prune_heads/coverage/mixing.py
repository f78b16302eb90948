"""Which parts of a model let tokens see each other when no head is left: tried by changing another token."""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prune_heads.anatomy import attention_blocks
from prune_heads.gating import gated

_ROWS = 7  # of the batch: few other dimensions are as large
_TOLERANCE = 1e-5  # of the largest value: how far apart two count as the same, which come from rows of one batch


@torch.no_grad()
def mixers(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[str] | None:
    """Modules by which a token reaches others although all heads are gated.

    The first text is run beside copies of itself; in one of them another token stands. A module mixes if its output
    differs at a place where none of its inputs does; what it mixed is undone behind it, so that the next ones show.
    The model must be in evaluation mode; `inputs` is a tokenised batch.

    Returns:
        Paths, `*` for the numbers of layers, and classes; empty where it is proved that no token sees another. None
        where nothing is proved: no text, one that is too short, or an attention that the other token does not reach.
    """
    if (pair := _pair(model, inputs)) is None:
        return None
    blocks = attention_blocks(model)
    names = [block.name for block in blocks]
    mixing: list[str] = []
    not_reached = set(names)
    shifts = getattr(model.config, "is_encoder_decoder", False)  # a decoder's texts are its encoder's, a token later

    def look(path: str, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """A forward hook, after those of the module's parts; it looks at the first thing that the module gives."""
        given = {i for tensor in _tensors([args, kwargs]) for i in _changed(tensor)}
        if given:
            not_reached.discard(path)
        new = next(iter(_tensors(output)), None)
        if new is None or new.ndim < 3 or not new.is_floating_point():
            return
        if shifts and _holds(path, names):
            given |= {i + 1 for i in given}
        if _changed(new) - given:
            mixing.append(path)
        if _ROWS in new.shape[:2]:
            rows = new if new.shape[0] == _ROWS else new.transpose(0, 1)
            others = [i for i in range(rows.shape[1]) if i not in given]
            rows[1, others] = rows[0, others]  # what is left of it, however small

    with ExitStack() as stack:
        for path, module in model.named_modules():
            if not path.startswith(tuple(f"{name}." for name in names)):  # a part of a block comes before its gates
                stack.callback(module.register_forward_hook(partial(look, path), with_kwargs=True).remove)
        stack.enter_context(gated(model, [torch.zeros(block.n_heads) for block in blocks]))
        model(**pair)
    if not mixing and not_reached:
        return None
    return list(dict.fromkeys(_shown(model, path, names) for path in mixing))


def _pair(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The first text in all rows; in the second row a token in its middle is another of its tokens."""
    if "input_ids" not in inputs:
        return None
    pair = {name: torch.cat([value[:1]] * _ROWS) for name, value in inputs.items() if name != "labels"}
    end = getattr(model.config, "eos_token_id", None)
    for name in ("input_ids", "decoder_input_ids"):
        if name not in pair:
            continue
        ids, seen = pair[name], pair.get(name.replace("input_ids", "attention_mask"))
        places = [i for i in range(ids.shape[1]) if ids[0, i] != end and (seen is None or seen[0, i])][1:-1]
        place = places[len(places) // 2] if places else 0
        others = [i for i in places if ids[0, i] != ids[0, place]]
        if not others:
            return None
        ids[1, place] = ids[0, others[0]]
    return pair


def _holds(path: str, blocks: Sequence[str]) -> bool:
    """Whether a block is a part of what has this path, or is it."""
    return any(not path or f"{block}.".startswith(f"{path}.") for block in blocks)


def _shown(model: nn.Module, path: str, blocks: Sequence[str]) -> str:
    """The largest part of the model that holds what mixes and no block; of layers, the sublayer."""
    parts = path.split(".")
    above = [".".join(parts[: i + 1]) for i in range(len(parts)) if not parts[i].isdigit()]
    chosen = next((name for name in above if not _holds(name, blocks)), path)
    kind = type(model.get_submodule(chosen)).__name__
    return f"{re.sub(r'(?<=[.])[0-9]+(?=[.]|$)', '*', chosen)} ({kind})".strip()


def _tensors(thing: Any) -> list[Tensor]:
    return [each for each in tree_leaves(thing) if isinstance(each, Tensor)]


def _changed(tensor: Tensor) -> set[int]:
    """The tokens at which the first two rows differ; the batch is the first dimension or the second."""
    if tensor.ndim < 2 or _ROWS not in tensor.shape[:2] or not tensor.numel():
        return set()
    rows = (tensor if tensor.shape[0] == _ROWS else tensor.transpose(0, 1)).double()
    gap = (rows[0] - rows[1]).abs().reshape(rows.shape[1], -1).amax(dim=1)
    least = _TOLERANCE * max(1.0, float(rows.abs().max())) if tensor.is_floating_point() else 0
    return set((gap > least).nonzero().flatten().tolist())
