"""Derivatives of the loss by the gates, on the way from no heads to all, and a second time.

Along the gate of a head h the loss without it is L - g_h + H_hh / 2 up to the third order, g the first derivatives and
H the second ones at gates of 1 (Zhang and Wang, 2026). Each example has its own gates, so one product serves all
examples of a batch. The backward pass is differentiated, which the kernels `eager` and PyTorch's plain form of `sdpa`
allow.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from prune_heads.anatomy import attention_blocks
from prune_heads.attention import plain_kernel
from prune_heads.errors import UnfitError
from prune_heads.evaluation import check_finite
from prune_heads.gating import evaluating, gated
from prune_heads.heads import HeadScores
from prune_heads.importance.criteria import Examples
from prune_heads.importance.gradient import gate_gradients
from prune_heads.objectives.replacing import stand_in

POINTS = 16  # of Gauss-Legendre quadrature


def integrated_gradients(examples: Examples) -> HeadScores:
    """Minus the integral of dL/dxi_h, all gates going from 0 to 1 together, by Gauss-Legendre with 16 points.

    The scores add up to the loss without any head minus the loss (completeness), to 1e-6 of it for a fine-tuned MiniLM
    and to 0.3% for the built-in inference model, whose loss bends more sharply. With `--replace` the path begins where
    what stands in is all that heads send. Where a norm follows W_O (Gemma 2) the loss jumps near no heads: they do not.
    """
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    model, batches, reporter = examples.model, examples.batches, examples.predictions.reporter
    n_heads = [block.n_heads for block in attention_blocks(model)]
    total = np.zeros((batches.n_examples, sum(n_heads)))
    with reporter.stage("scoring", POINTS * batches.n_examples) as progress:
        for node, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
            at = [torch.full((n,), node) for n in n_heads]
            total += weight * gate_gradients(model, batches, at=at, progress=progress).signed
    examples.spend("integrated-gradients", POINTS, POINTS)
    return examples.mean(-total)


class Curved(NamedTuple):
    """Of each example and head of the model as it is now, `(n_examples, n_heads)` each."""

    first: NDArray[np.float64]  # g_h
    second: NDArray[np.float64]  # H_hh, or (H 1)_h

    @property
    def effect(self) -> NDArray[np.float64]:
        """The change of the loss to the second order."""
        return self.second / 2 - self.first


def curved(examples: Examples, *, diagonal: bool) -> Curved:
    """One product with H a head for the diagonal, one in all for the sums of the rows.

    Counted as a forward and a backward pass, and as much again for each product, which takes about that long.
    """
    n_products = len(examples.there) if diagonal else 1
    examples.spend(("curved", diagonal), 1 + n_products, 1 + n_products)
    return examples.once(("curved", diagonal), lambda: _differentiate(examples, diagonal))


def _differentiate(examples: Examples, diagonal: bool) -> Curved:
    model, batches, reporter = examples.model, examples.batches, examples.predictions.reporter
    sizes, device = [block.n_heads for block in attention_blocks(model)], next(model.parameters()).device
    first, second = np.zeros((2, batches.n_examples, sum(sizes)))
    with (
        evaluating(model, frozen=True),
        plain_kernel(model),
        sdpa_kernel(SDPBackend.MATH),
        reporter.stage("scoring", batches.n_examples) as progress,
    ):
        for batch in (each.to(device) for each in batches if sum(sizes)):
            gates = [torch.ones(len(batch.index), n, device=device, requires_grad=True) for n in sizes]
            opened = [partial(_by_row, each, batch.owner) for each in gates]
            with gated(model, opened, stand_in(model, batches, batch.index)):
                losses = batches.objective.losses(model(**batch.inputs), batch)
            slopes = torch.autograd.grad(losses.sum(), gates, create_graph=True, materialize_grads=True)
            if diagonal:
                pairs = zip(slopes, gates, strict=True)
                bent = [_slopes(g[:, h], [by])[0][:, h : h + 1] for g, by in pairs for h in range(by.shape[1])]
            else:
                bent = _slopes(torch.cat([*slopes], dim=1), gates)
            for matrix, parts in ((first, slopes), (second, bent)):
                matrix[batch.index] = torch.cat([*parts], dim=1).detach().cpu().numpy()
                check_finite(matrix[batch.index], batch.index, "derivatives by the gates")
            progress(len(batch.index))
    return Curved(first, second)


def _by_row(gates: Tensor, owner: Tensor | None, context: Tensor) -> Tensor:
    """`(examples, n_heads)` for the rows of W_O's input; windows of an image are rows one after the other."""
    rows = gates if owner is None else gates[owner]
    rows = rows.repeat_interleave(len(context) // len(rows), dim=0)
    return rows.view(len(context), *[1] * (context.ndim - 2), -1)


def _slopes(of: Tensor, by: Sequence[Tensor]) -> list[Tensor]:
    """The derivatives of a sum; 0 of what depends on nothing, as in a block that did not run."""
    if not of.requires_grad:
        return [torch.zeros_like(each) for each in by]
    return list(torch.autograd.grad(of.sum(), by, retain_graph=True, materialize_grads=True))


def second_order(examples: Examples) -> HeadScores:
    """Mean over examples of -dL/dxi_h + H_hh / 2: what the loss gains when the head alone goes, to the second order."""
    return examples.mean(curved(examples, diagonal=True).effect)


def row_sums(examples: Examples) -> HeadScores:
    """Mean over examples of -dL/dxi_h + (H 1)_h / 2: a head's share when all heads go, to the second order.

    One product; the scores add up to what the loss gains without any head, to the second order.
    """
    return examples.mean(curved(examples, diagonal=False).effect)


def flagged(found: Curved) -> NDArray[np.bool_]:
    """`(n_heads,)`: heads whose first-order score is unreliable: |E H_hh| / (2 |E g_h|), their ratio, is 1 or more."""
    first, second = (np.abs(each.mean(axis=0)) for each in found)
    return np.asarray(second / 2 >= first)


def screened(examples: Examples) -> HeadScores:
    """`second_order`, and for heads that are `flagged` what the loss gains without them, measured: screen, flag, fix.

    An `UnfitError` where the response of the objective is no loss with its sign changed: of written texts.
    """
    objective = examples.objective
    if objective.generates:
        must = "the response must be minus the loss, for both to be on one scale"
        raise UnfitError(f"{must}; that of {objective.name} is the {objective.response.name}. Take second-order")
    found, columns = curved(examples, diagonal=True), examples.columns
    values, unreliable = found.effect, flagged(found)[columns]
    if unreliable.any():
        n = len(unreliable)
        masks = examples.masks_of(np.vstack([np.zeros((1, n), dtype=bool), np.eye(n, dtype=bool)[unreliable]]))
        responses = examples.responses(masks)
        values[:, np.flatnonzero(columns)[unreliable]] = responses[:, :1] - responses[:, 1:]
    return examples.mean(values)
