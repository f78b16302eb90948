"""Proof that a mask is applied: close each block's gates and see the logits change.

transformers 5 accepts `head_mask` and `config.pruned_heads` and ignores them without a word, so scripts that
rely on them report that no head matters. Every command that masks runs this probe first.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.locate import attention_blocks
from prune_heads.errors import MaskNotAppliedError, NotFiniteError
from prune_heads.gating import gated


@torch.no_grad()
def prove_gates(model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Check that gates of 1 change nothing and that gates of 0 change the logits, block by block.

    An example is repeated once per block and row i is run with block i closed: two forward passes in all,
    of the same shape, so that any difference is the gates' doing and not rounding. In reduced precision the logits of
    an example may be too coarse to show the part of a block; then the next example is asked.

    Args:
        model: In evaluation mode; its output must have `logits`.
        inputs: A tokenised batch; one example is enough in float32.

    Raises:
        MaskNotAppliedError: Naming the blocks whose gates do nothing. Blocks without heads, or whose heads
            have all been zeroed, are not asked.
        NotFiniteError: If a logit is NaN or infinite, so that nothing can be proved.
    """
    blocks = attention_blocks(model)
    deaf = {i for i, block in enumerate(blocks) if _has_output(block)}
    for example in range(len(next(iter(inputs.values())))):
        one = {name: value[example : example + 1] for name, value in inputs.items() if name != "labels"}
        deaf -= _bitten(model, blocks, one)
        if not deaf:
            return
    names = ", ".join(blocks[i].name for i in sorted(deaf))
    parameter = next(model.parameters())
    coarse = (
        ""
        if parameter.dtype == torch.float32
        else f", or {parameter.dtype} is too coarse: try --dtype float32"
    )
    raise MaskNotAppliedError(
        f"closing the gates of a block must change the logits, but it does not for {names}: "
        f"masks are not applied in this model, so nothing is reported. The model's code may bypass its W_O{coarse}"
    )


def _bitten(model: nn.Module, blocks: Sequence[AttentionBlock], example: Mapping[str, Tensor]) -> set[int]:
    """Places of the blocks that change the logits of an example when they are closed."""
    batch = {name: value.expand(len(blocks) + 1, *value.shape[1:]) for name, value in example.items()}
    device = next(model.parameters()).device
    gates = [torch.ones(len(blocks) + 1, block.n_heads, device=device) for block in blocks]
    for row, gate in enumerate(gates):
        gate[row] = 0
    reference = model(**batch).logits
    if not torch.isfinite(reference).all():
        raise NotFiniteError(
            "logits must be finite; got NaN or infinity for the first example. Try --dtype float32, and check "
            "the checkpoint's weights"
        )
    with gated(model, gates):
        logits = model(**batch).logits
    changed = (logits != reference).flatten(1).any(dim=1).tolist()
    if changed[-1]:
        raise MaskNotAppliedError(
            "gates of 1 must leave the logits as they are, bit for bit, but they changed: the model is not "
            "deterministic (is it in training mode?)"
        )
    return {i for i, bites in enumerate(changed) if bites}


def _has_output(block: AttentionBlock) -> bool:
    """False when the block's heads send nothing whatever comes in: W_O, or W_V and its bias, are zero."""
    value_is_dead = not block.value.weight.any() and (block.value.bias is None or not block.value.bias.any())
    return bool(block.output.weight.any()) and not value_is_dead
