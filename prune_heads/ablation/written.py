"""Texts that are written under many masks: a row of the batch is one (mask, example), and each has its own gates."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from prune_heads.anatomy import attention_blocks
from prune_heads.gating import gated
from prune_heads.objectives.batches import Batch


def written(
    model: nn.Module, batch: Batch, gates: Sequence[Tensor], objective: Any, masks_a_pass: Callable[[int], int]
) -> Iterator[Tensor]:
    """What is kept of the texts that are written under each mask, `(batch, width)`, mask after mask.

    Args:
        model: An encoder-decoder.
        batch: On its device.
        gates: A tensor a block, `(n_masks, n_heads)`.
        objective: One that `generates`.
        masks_a_pass: Tokens of the batch under one mask -> masks that write together.
    """
    blocks, n_examples, beams = attention_blocks(model), len(batch.index), objective.beams
    n_tokens = batch.inputs["input_ids"].numel() + n_examples * objective.n_max
    size = masks_a_pass(beams * n_tokens)
    for start in range(0, len(gates[0]), size):
        some = [gate[start : start + size].repeat_interleave(n_examples, dim=0) for gate in gates]
        wide = batch.repeated(len(some[0]) // n_examples)
        # A decoder has a row a hypothesis, those of an example together.
        rows = [
            gate.repeat_interleave(beams, dim=0) if block.stack == "decoder" else gate
            for block, gate in zip(blocks, some, strict=True)
        ]
        with gated(model, rows):
            yield from objective.kept(model, wide).split(n_examples)
