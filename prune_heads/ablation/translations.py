"""Translations under many masks: a row of the batch is one (mask, example), and each has its own gates."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from prune_heads.anatomy import attention_blocks
from prune_heads.batching import Batch
from prune_heads.evaluation import answers
from prune_heads.gating import gated


def translated(
    model: nn.Module, batch: Batch, gates: Sequence[Tensor], masks_a_pass: int
) -> Iterator[Tensor]:
    """The counts of each mask's translations, `(batch, N_COUNTS)`, mask after mask.

    Args:
        model: An encoder-decoder.
        batch: With its translation.
        gates: A tensor a block, `(n_masks, n_heads)`.
        masks_a_pass: Masks that write together.
    """
    blocks, n_examples = attention_blocks(model), len(batch.index)
    beams = batch.translation.beams if batch.translation else 1
    for start in range(0, len(gates[0]), masks_a_pass):
        some = [gate[start : start + masks_a_pass].repeat_interleave(n_examples, dim=0) for gate in gates]
        wide = batch.repeated(len(some[0]) // n_examples)
        # A decoder has a row a hypothesis, those of an example together.
        rows = [
            gate.repeat_interleave(beams, dim=0) if block.stack == "decoder" else gate
            for block, gate in zip(blocks, some, strict=True)
        ]
        with gated(model, rows):
            yield from answers(model, wide).split(n_examples)
