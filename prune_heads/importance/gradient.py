"""Derivatives of the loss by each head's gate, of every example, in one backward pass; and scores from them.

Paper, equation 2: I_h = E_x |Att_h(x)^T dL(x)/dAtt_h(x)|. With a gate xi_h that multiplies Att_h (the head's
output before W_O), Att_h^T dL/dAtt_h = dL/dxi_h at xi = 1. One gate per example and token gives, from the same
pass, each example's derivative (sum over its tokens) and the authors' variant (sum of absolute values).

Blocks may work on different numbers of tokens: an encoder's on the source, a decoder's on the target, and some models
shorten the text between layers. So a block's gates are made when its W_O is given its input.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from prune_heads.anatomy import AttentionBlock, attention_blocks, gone_from
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import MaskNotAppliedError
from prune_heads.evaluation import check_finite
from prune_heads.gating import Instead, evaluating, gated
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import Batch, Batches, loaded
from prune_heads.objectives.replacing import stand_in
from prune_heads.progress import Progress, silent

_Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class GateGradients:
    """What the backward passes leave: two numbers for each example and head that is there, block after block."""

    signed: NDArray[np.float32]  # `(n_examples, total heads)`: dL_x/dxi_h, L_x the example's own loss
    absolute: NDArray[np.float32]  # `(n_examples, total heads)`: sum over tokens of |Att_h(x, t)^T dL_x/dAtt_h(x, t)|
    n_tokens: NDArray[np.int64]
    """`(n_examples,)`: tokens of each example without padding. Where a decoder works on other tokens than an encoder,
    `(n_examples, n_blocks)`: those of each block; so for images, which are no sequence before they are in the model."""
    n_heads: tuple[int, ...]  # heads per attention block that have columns
    reads_one_token: bool = True  # whether one token of the last layer is read, as a classifier does, or all
    gone: HeadMask | None = None  # heads that have no column, for the model had lost them before; None for none

    def scores(self, flat: ArrayLike, standard_error: ArrayLike | None = None) -> HeadScores:
        """One number a column as the scores of the heads that they are of."""
        gone = HeadMask(HeadCounts(self.n_heads)) if self.gone is None else self.gone
        return HeadScores.of_the_rest(flat, gone, standard_error)


BatchRows = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]
"""Of one batch the places of its examples in file order, `(batch,)`, and their rows `signed` and `absolute`."""


def gate_gradients(
    model: nn.Module,
    batches: Batches | Iterable[Any],
    *,
    at: Sequence[Tensor] | None = None,
    progress: Progress = silent,
) -> GateGradients:
    """Differentiate each example's loss by the gates; the model is in evaluation mode and frozen meanwhile.

    The gates are all 1, or `at`, `(n_heads,)` a block.

    The batches may be a DataLoader of model inputs with labels, which is read once; see `Evaluator`.

    The loss is that of the objective (cross-entropy, the squared error for regression, or minus the log-likelihood of
    all tokens that a language model predicts of the example), summed over the batch: examples do not scale each other,
    and the result does not depend on the batch size. With `batches.replacement`, r, they are derivatives towards it:
    dL/dxi_h = (Att_h - r)^T dL/dAtt_h.

    Raises:
        DataError: If a batch of a DataLoader is no mapping with labels, and no pair of inputs and labels.
        MaskNotAppliedError: If the W_O of a block with heads is not called.
        NotFiniteError: If a loss or a gradient is NaN or infinite.
    """
    if not isinstance(batches, Batches):
        batches = loaded(batches, model)
    return in_file_order(batch_rows(model, batches, range(len(batches)), at=at, progress=progress), model, batches)


def batch_rows(
    model: nn.Module,
    batches: Batches,
    steps: Iterable[int],
    *,
    at: Sequence[Tensor] | None = None,
    progress: Progress = silent,
) -> Iterator[BatchRows]:
    """The same of some batches, by their places from 0; `NotFiniteError` if a loss or gradient is NaN or infinite."""
    device = next(model.parameters()).device
    blocks = attention_blocks(model)
    with evaluating(model, frozen=True):
        for batch in (each.to(device) for each in batches.numbered(steps)):
            instead = stand_in(model, batches, batch.index)
            per_token = _per_token(model, blocks, batch, batches.objective, instead, at)
            signed, absolute = (
                torch.cat([batch.by_example(gates.sum(dim=1)) for gates in each], dim=-1).cpu().numpy()
                for each in (per_token, [gates.abs() for gates in per_token])
            )
            check_finite(signed, batch.index, "gradients of the gates")
            yield batch.index, signed, absolute
            progress(len(batch.index))


def in_file_order(rows: Iterable[BatchRows], model: nn.Module, batches: Batches) -> GateGradients:
    """The rows of all batches, in whatever order they come, as one matrix."""
    blocks = attention_blocks(model)
    n_heads = tuple(block.n_heads for block in blocks)
    signed, absolute = (np.empty((batches.n_examples, sum(n_heads)), dtype=np.float32) for _ in range(2))
    for index, *both in rows:
        signed[index], absolute[index] = both
    n_tokens, n_decoded = batches.n_tokens, batches.n_decoded
    if not n_tokens.any():  # images: the positions of each block that the loss depends on, as many for all
        first = batches.batch(np.arange(1)).to(next(model.parameters()).device)
        with evaluating(model, frozen=True):
            found = _per_token(model, blocks, first, batches.objective)
        there = [max(1, int((gradient != 0).any(dim=-1).sum())) for gradient in found]
        n_tokens = np.tile(np.asarray(there, dtype=np.int64), (batches.n_examples, 1))
    elif n_decoded is not None and {block.stack for block in blocks} == {"encoder", "decoder"}:
        n_tokens = np.stack([{"encoder": n_tokens, "decoder": n_decoded}[block.stack] for block in blocks], axis=1)
    return GateGradients(signed, absolute, n_tokens, n_heads, batches.objective.reads_one_token, gone_from(blocks))


def _per_token(
    model: nn.Module,
    blocks: Sequence[AttentionBlock],
    batch: Batch,
    objective: Objective,
    instead: Instead = None,
    at: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """`(rows, tokens of the block, n_heads)` a block: derivative of each example's loss by each gate."""
    gates: dict[int, Tensor] = {}

    def opened(i: int, context: Tensor) -> Tensor:
        """Gates for the tokens of W_O's input."""
        if i in gates:
            called = f"that of {blocks[i].name} is called more often"
            raise MaskNotAppliedError(f"W_O must be called once for each of its blocks; {called}")
        gate = torch.ones(*context.shape[:-1], blocks[i].n_heads, device=context.device)
        gates[i] = (gate if at is None else gate * at[i].to(gate)).requires_grad_()
        return gates[i]

    with gated(model, [partial(opened, i) for i in range(len(blocks))], instead):
        outputs = model(**batch.inputs)
        if missed := [block.name for i, block in enumerate(blocks) if i not in gates and block.n_heads]:
            must = f"the loss must pass the W_O of every block; {', '.join(missed)} ran without it, or did not run"
            raise MaskNotAppliedError(f"{must}. Call W_O as a module, not its weights by a function")
    losses = objective.losses(outputs, batch)
    check_finite(losses.detach().cpu().numpy(), batch.index, "losses")
    made = torch.autograd.grad(losses.sum(), list(gates.values()), materialize_grads=True) if gates else ()
    found = dict(zip(gates, made, strict=True))
    n_rows = len(batch.targets)
    # A block without heads takes no part in the loss, and has no gates. Windows of an image stand one after the other
    # as rows of their own.
    return [
        found[i].float().reshape(n_rows, -1, block.n_heads) if i in found else losses.new_zeros(n_rows, 1, 0)
        for i, block in enumerate(blocks)
    ]


class Row(NamedTuple):
    """A row of `ESTIMATORS` or `NORMALIZERS`."""

    score: Callable[..., HeadScores]
    """`(GateGradients, batch_size)`, with a standard error of the mean; or of scores, whose errors are scaled as they
    are, taking the norm itself as exact."""
    summary: str


def _mean_of(of: Callable[[_Matrix], _Matrix]) -> Callable[[GateGradients, int], HeadScores]:
    """The mean over examples of a function of dL/dxi_h."""

    def score(gradients: GateGradients, batch_size: int) -> HeadScores:
        values = of(gradients.signed.astype(np.float64))
        return gradients.scores(values.mean(axis=0), standard_error(values))

    return score


def token(gradients: GateGradients, batch_size: int) -> HeadScores:
    """What the authors' code computes: absolute values token by token.

    Their sum is divided by the number of tokens, but in a classifier's last layer by the number of examples (there
    only the first token has a gradient). Tokens are those that the block works on: in an encoder-decoder the source's
    for the encoder, the target's for the decoder and for its attention to the encoder. Their loss was the mean of a
    batch, which divides all scores by the batch size; ours is the sum. The standard error is that of a ratio of means.
    """
    absolute = gradients.absolute.astype(np.float64)
    n_tokens = gradients.n_tokens if gradients.n_tokens.ndim == 2 else gradients.n_tokens[:, None]
    by_block = np.broadcast_to(n_tokens, (len(absolute), len(gradients.n_heads)))
    weights = np.repeat(by_block, gradients.n_heads, axis=1).astype(np.float64)
    if gradients.reads_one_token:
        weights[:, sum(gradients.n_heads[:-1]) :] = 1
    return _ratio(gradients, absolute, weights)


def batch(gradients: GateGradients, batch_size: int) -> HeadScores:
    """Mean over batches of |mean over the batch of dL/dxi_h|.

    What scripts compute that keep one gate for a whole batch. Depends on the batch size: derivatives of
    opposite sign cancel within a batch. Batches are taken in file order; the last may be smaller and weighs less.
    """
    signed = gradients.signed.astype(np.float64)
    starts = np.arange(0, len(signed), batch_size)
    sizes = np.diff(np.append(starts, len(signed)))[:, None]
    return _ratio(gradients, np.abs(np.add.reduceat(signed, starts, axis=0)), sizes)


def _ratio(gradients: GateGradients, values: _Matrix, weights: _Matrix) -> HeadScores:
    """The sum of the rows over that of their weights, with the standard error of a ratio of means."""
    scores = values.sum(axis=0) / weights.sum(axis=0)
    return gradients.scores(scores, standard_error((values - scores * weights) / weights.mean(axis=0)))


ESTIMATORS: Mapping[str, Row] = {
    "example": Row(_mean_of(np.abs), "mean over examples of |dL/dgate| (the paper's equation 2)"),
    "token": Row(token, "absolute values token by token (the authors' code)"),
    "batch": Row(batch, "absolute value of the batch mean; depends on the batch size"),
    "fisher": Row(_mean_of(np.square), "mean over examples of the square"),
    "signed": Row(_mean_of(np.negative), "mean over examples without absolute value"),
}
"""`--estimator` -> how gate gradients become scores. `fisher` is the diagonal of the empirical Fisher information;
`signed` is -dL/dxi_h, the first-order increase of the loss when the head goes."""


def running_sum(gradients: GateGradients) -> HeadScores:
    """Mean over examples k of |g_1 + ... + g_k|, g the derivatives dL/dxi_h in file order. A defect, to be measured.

    transformers' run_bertology.py adds up the absolute gradient of its head mask after every batch, but never zeroes
    that gradient, to which each backward pass adds. At its default of one example a batch this is the sum of the
    absolute values of running sums: a head whose derivatives have a mean other than 0 grows with the square of the
    number of examples, and the order of the examples counts. Its division by the number of tokens scales all alike.
    There is no standard error, for the terms depend on each other.
    """
    sums = np.cumsum(gradients.signed, axis=0, dtype=np.float64)
    return gradients.scores(np.abs(sums, out=sums).mean(axis=0))


def standard_error(values: _Matrix) -> _Matrix | None:
    """Of the mean of the rows: `(total heads,)`; None when there is one row only, of which nothing can be estimated."""
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def l2(scores: HeadScores) -> HeadScores:
    """Each layer divided by its l2 norm plus 1e-20, as the authors do (paper, section 4.1)."""
    return _scaled(scores, 0.0, [np.sqrt(np.square(row).sum()) + 1e-20 for row in scores.values])


def min_max(scores: HeadScores) -> HeadScores:
    """All heads that are there mapped to 0 (least) to 1 (most important); equal scores all become 0."""
    flat = scores.flat()[np.concatenate([*scores.gone.keep(), np.zeros(0, dtype=bool)])]
    low, high = (flat.min(), flat.max()) if len(flat) else (0.0, 0.0)
    return _scaled(scores, low, [high - low if high > low else 1.0] * len(scores.values))


def _scaled(scores: HeadScores, low: float, spans: list[float]) -> HeadScores:
    """Those of each layer less `low`, in units of its span; heads that are gone stay at 0."""
    rows = zip(scores.values, scores.gone.keep(), spans, strict=True)
    errors = scores.standard_error and tuple(e / span for e, span in zip(scores.standard_error, spans, strict=True))
    return replace(scores, values=tuple((row - low) * kept / span for row, kept, span in rows), standard_error=errors)


NORMALIZERS: Mapping[str, Row] = {
    "none": Row(lambda scores: scores, "as they are"),
    "l2": Row(l2, "each layer divided by its l2 norm (paper, section 4.1)"),
    "min-max": Row(min_max, "all heads together from 0 to 1"),
}
"""`--normalize` -> how the scores of any criterion are scaled."""
