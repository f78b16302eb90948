"""Greedy-Gnorm (Guo and Sheridan, 2026): norms of the gradients of W_Q, W_K and W_V, again after every head."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks
from prune_heads.errors import NotFiniteError, UnsupportedModelError
from prune_heads.gating import evaluating, gated, gates_of
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.criteria import Examples
from prune_heads.objectives.base import read_off
from prune_heads.objectives.batches import Batch
from prune_heads.objectives.replacing import stand_in


def gnorm(examples: Examples) -> HeadScores:
    """The step, from 1, at which a head goes: in each step the lowest |dL/dW_Q| |dL/dW_K| |dL/dW_V| of those left.

    The product of the l2 norms of the head's blocks of the gradient of the mean loss over all examples, with labels and
    in evaluation mode; so neither batches nor padding count. Heads that went are gated. Keys and values that several
    heads share count for each of them; layers that share weights have one gradient. There is no standard error.
    """
    return _greedy(examples, "gnorm")


def gnorm_published(examples: Examples) -> HeadScores:
    """The same as the authors' script does it: the loss is the norm of a batch's logits, without labels, dropout on.

    The norms of the gradients of each batch are added up, then multiplied: batches count. Not the same as theirs: our
    batches hold texts of similar length, dropout has a seed, and heads that went are gated, which draws other dropout
    than cutting them out.
    """
    device = next(examples.model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(examples.seed)
        return _greedy(examples, "gnorm-published", is_published=True)


def _greedy(examples: Examples, name: str, *, is_published: bool = False) -> HeadScores:
    """One forward and backward pass less than there are heads: the last one is not asked for."""
    model, batches, reporter = examples.model, examples.batches, examples.predictions.reporter
    there, gone, blocks = examples.there, examples.gone, attention_blocks(model)
    weights, device = _weights(blocks), next(model.parameters()).device
    steps, left = np.full(len(there), len(there), dtype=float), list(range(len(there)))
    n_passes = max(0, len(there) - 1)
    examples.spend(name, n_passes, n_passes)

    def loss(outputs: Any, batch: Batch) -> Tensor:
        if not is_published:
            return batches.objective.losses(outputs, batch).sum()  # n times the mean, which changes no order
        logits = read_off(outputs, batches.objective.reads).values()
        return torch.cat([each.float().flatten() for each in logits]).norm()

    with reporter.stage("scoring", n_passes * batches.n_examples) as progress, _moving(model, weights, is_published):
        for step in range(1, len(there)):
            total = list[Any]()
            for batch in (each.to(device) for each in batches):
                with gated(model, gates_of(model, gone), stand_in(model, batches, batch.index)):
                    slopes = torch.autograd.grad(loss(model(**batch.inputs), batch), weights, materialize_grads=True)
                moved = dict(zip(weights, map(Tensor.float, slopes), strict=True))  # sums in bfloat16 lose the rest
                found = _norms(blocks, moved) if is_published else moved.values()
                total = [a + b for a, b in zip(total, found, strict=True)] if total else list(found)
                progress(len(batch.index))
            norms = total if is_published else _norms(blocks, dict(zip(weights, total, strict=True)))
            products = np.prod(norms, axis=0)[examples.columns]
            if not np.isfinite(products).all():
                must = f"the gradients of the weights must be finite for {name}; got NaN or infinity"
                raise NotFiniteError(f"{must}. Try --dtype float32, and check the checkpoint's weights")
            lowest = min(left, key=products.__getitem__)
            left.remove(lowest)
            steps[lowest] = step
            gone |= HeadMask(gone.n_heads, frozenset([there[lowest]]))
    return HeadScores.of_the_rest(steps, examples.gone)


def _weights(blocks: Sequence[AttentionBlock]) -> list[nn.Parameter]:
    """The parameters that hold W_Q, W_K and W_V, each once."""
    parts = [part for block in blocks if block.n_heads for part in (block.query, block.key, block.value)]
    found = {getattr(part.module, part.names[0]): part for part in parts}
    for weight in found:
        if not isinstance(weight, nn.Parameter):
            must = "W_Q, W_K and W_V must be plain parameters to be differentiated by"
            raise UnsupportedModelError(f"{must}; got some that are computed from others. Take the gradient")
    return list(found)


def _norms(blocks: Sequence[AttentionBlock], moved: Mapping[nn.Parameter, Tensor]) -> list[NDArray[np.float64]]:
    """The l2 norms of the gradients of W_Q, W_K and W_V of each head of the model now, `(n_heads,)` each."""
    found: list[list[float]] = [[], [], []]
    for block in blocks:
        for i in range(block.n_heads):
            group = i // block.group_size
            for norms, part, place in zip(found, (block.query, block.key, block.value), (i, group, group), strict=True):
                gradient = part.laid(moved[getattr(part.module, part.names[0])])
                norms.append(float(gradient[part.dimensions([place])].double().norm()))
    return [np.array(norms) for norms in found]


@contextmanager
def _moving(model: nn.Module, weights: Sequence[nn.Parameter], is_training: bool) -> Iterator[None]:
    """Differentiate by these weights alone, with dropout if asked; afterwards the model is as it was."""
    with evaluating(model, frozen=True):
        try:
            model.train(is_training)
            for weight in weights:
                weight.requires_grad_()
            yield
        finally:
            model.eval()
            for weight in weights:
                weight.requires_grad_(False)
