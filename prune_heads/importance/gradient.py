"""Derivatives of the loss by each head's gate, of every example, in one backward pass.

Paper, equation 2: I_h = E_x |Att_h(x)^T dL(x)/dAtt_h(x)|. With a gate xi_h that multiplies Att_h (the head's
output before W_O), Att_h^T dL/dAtt_h = dL/dxi_h at xi = 1. One gate per example and token gives, from the same
pass, each example's derivative (sum over its tokens) and the authors' variant (sum of absolute values).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from prune_heads.anatomy import attention_blocks
from prune_heads.batching import Batch, Batches
from prune_heads.evaluation import check_finite
from prune_heads.gating import gated
from prune_heads.progress import Progress, silent


@dataclass(frozen=True)
class GateGradients:
    """What the backward passes leave: two numbers for each example and head. All heads, block after block."""

    signed: NDArray[np.float32]
    """`(n_examples, total heads)`: dL_x/dxi_h, L_x the example's own loss."""
    absolute: NDArray[np.float32]
    """`(n_examples, total heads)`: sum over tokens of |Att_h(x, t)^T dL_x/dAtt_h(x, t)|."""
    n_tokens: NDArray[np.int64]
    """`(n_examples,)`: tokens of each example without padding."""
    n_heads: tuple[int, ...]
    """Heads per attention block."""


def gate_gradients(
    model: nn.Module,
    batches: Batches,
    *,
    progress: Progress = silent,
) -> GateGradients:
    """Differentiate each example's loss by the gates; parameters are frozen meanwhile.

    The loss is cross-entropy, or the squared error for regression, summed over the batch: examples do not
    scale each other, and the result does not depend on the batch size.

    Raises:
        NotFiniteError: If a loss or a gradient is NaN or infinite.
    """
    device = next(model.parameters()).device
    blocks = attention_blocks(model)
    n_heads = tuple(block.n_heads for block in blocks)
    shape = (batches.n_examples, sum(n_heads))
    signed, absolute = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        for batch in batches:
            per_token = _per_token(model, batch.to(device), n_heads)
            signed[batch.index] = _heads(per_token.sum(dim=1))
            absolute[batch.index] = _heads(per_token.abs().sum(dim=1))
            check_finite(signed[batch.index], batch.index, "gradients of the gates")
            progress(len(batch.index))
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return GateGradients(signed, absolute, batches.n_tokens, n_heads)


def example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """`(batch,)`: cross-entropy by label index, or squared error where labels are real numbers."""
    logits = logits.float()
    if labels.is_floating_point():
        return (logits.squeeze(-1) - labels).square()
    return functional.cross_entropy(logits, labels, reduction="none")


def _per_token(model: nn.Module, batch: Batch, n_heads: tuple[int, ...]) -> Tensor:
    """`(batch, tokens, total heads)`: derivative of each example's loss by the gate of each token and head."""
    size = next(iter(batch.inputs.values())).shape[:2]
    device = batch.labels.device
    gates = [torch.ones(*size, n, device=device, requires_grad=True) for n in n_heads]
    with gated(model, gates):
        losses = example_losses(model(**batch.inputs).logits, batch.labels)
        check_finite(losses.detach().cpu().numpy(), batch.index, "losses")
        # A block without heads takes no part in the loss: its gates are empty.
        gradients = torch.autograd.grad(losses.sum(), gates, materialize_grads=True)
    return torch.cat([gradient.float() for gradient in gradients], dim=-1)


def _heads(values: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.cpu().numpy()
    return array
