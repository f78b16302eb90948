"""Attention attribution: integrated gradients by the maps of a layer, which grow from nothing to what they are."""

import numpy as np
import torch
from torch import Tensor

from prune_heads.anatomy import attention_blocks
from prune_heads.attention import Attention, observing_proved
from prune_heads.errors import UnsupportedModelError
from prune_heads.evaluation import check_finite
from prune_heads.gating import evaluating, gated
from prune_heads.heads import HeadScores
from prune_heads.importance.criteria import Examples
from prune_heads.importance.forward import one_row, real_queries
from prune_heads.objectives.batches import Batch
from prune_heads.objectives.classifiers import SingleLabel
from prune_heads.objectives.responses import LIKELIHOOD

POINTS = 8  # of Gauss-Legendre quadrature; Hao et al. add up 20 equal steps


def attention_attribution(examples: Examples) -> HeadScores:
    """Mean over examples of the largest entry of A_h * integral of dF/dA_h at alpha A (Hao et al., 2021).

    A are the maps of one layer, all of them scaled by alpha from 0 to 1, by Gauss-Legendre with 8 points. F is the
    probability of the right answer, exp(-L), of a classifier, and -L where an answer has many parts or is a score.
    Padding is no entry. An `UnsupportedModelError` where the maps are not shown, or weigh no values.
    """
    model, batches, reporter = examples.model, examples.batches, examples.predictions.reporter
    sizes, device = [block.n_heads for block in attention_blocks(model)], next(model.parameters()).device
    starts, values = np.cumsum([0, *sizes]), np.zeros((batches.n_examples, sum(sizes)))
    n_passes = POINTS * sum(n > 0 for n in sizes)
    examples.spend("attention-attribution", 1 + n_passes, n_passes)
    with (
        observing_proved(model, one_row(batches, device)) as (observe, faults),
        reporter.stage("scoring", batches.n_examples) as progress,
    ):
        for batch in (each.to(device) for each in batches):
            with torch.inference_mode():
                shown = observe(**batch.inputs)
            for each in shown:
                if each.values is None or each.map is None:
                    must = "the output of a head must be a sum of values, weighted by its map"
                    must = f"{must}; that of {each.block.name} is not"
                    raise UnsupportedModelError(f"{faults.get(each.block.name, must)}. Take integrated-gradients")
                real = real_queries(each, batches, batch)
                found = _attributed(examples, each, each.map, each.values, batch, real).cpu().double().numpy()
                check_finite(found, batch.index, f"attributions of {each.block.name}")
                values[batch.index, starts[each.place] : starts[each.place + 1]] = found
            progress(len(batch.index))
    return examples.mean(values)


def _attributed(examples: Examples, each: Attention, map: Tensor, values: Tensor, batch: Batch, real: Tensor) -> Tensor:
    """`(examples, heads)`: the largest attribution of each head of a block.

    A scaled map is a gate of all heads. To the input c of W_O, (1 - alpha) times a vector is added that is 0, by which
    F is differentiated; then dF/dA = dF/dc V^T.
    """
    model, objective, place = examples.model, examples.objective, each.place
    context, blocks = each.context.flatten(-2).clone(), attention_blocks(model)
    slope = torch.zeros_like(context)
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    is_likely = isinstance(objective, SingleLabel) and objective.response is LIKELIHOOD
    for alpha, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
        beside = torch.zeros_like(context).requires_grad_()
        instead = [beside if i == place else None for i in range(len(blocks))]
        gates = [torch.full((b.n_heads,), alpha if i == place else 1.0) for i, b in enumerate(blocks)]
        with evaluating(model, frozen=True), gated(model, gates, instead):
            losses = objective.losses(model(**batch.inputs), batch)
        wanted = (torch.exp(-losses) if is_likely else -losses).sum()
        slope += torch.autograd.grad(wanted, beside)[0] * (weight / (1 - alpha))
    by_head = slope.unflatten(-1, each.context.shape[-2:])
    entries = map * torch.einsum("bqhd,bhkd->bhqk", by_head, values)
    allowed = (map.amax(dim=1) > 0) & real[..., None]
    most = entries.masked_fill(~allowed[:, None], -torch.inf).amax(dim=(2, 3))
    rows = most.reshape(len(batch.targets), -1, most.shape[1]).amax(dim=1)
    if batch.owner is None:
        return rows
    return torch.stack([rows[batch.owner == i].amax(dim=0) for i in range(len(batch.index))])
