"""What heads do in a forward pass, without a loss: how much they send, and how they look at what is there.

Means over the queries of an example that are no padding, then over the examples; standard errors are over examples.
Heads that are gone take part in no mean. A query that may look at one key has no choice, so scores of maps leave it
out; an example in which no query has a choice scores 0. What a query may look at are the keys that some head of its
block gives a weight above 0: so causal masks, windows and padding count without a word of the model.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.anatomy import attention_blocks
from prune_heads.attention import Attention, observing_proved
from prune_heads.errors import UnfitError, UnsupportedModelError
from prune_heads.evaluation import check_finite
from prune_heads.heads import HeadScores
from prune_heads.importance.criteria import Examples
from prune_heads.importance.gradient import ESTIMATORS, min_max
from prune_heads.objectives.batches import Batch, Batches
from prune_heads.objectives.replacing import positions

COLUMNS = ("output-norm", "entropy", "confidence", "first-token")


class Seen(NamedTuple):
    """What one pass over the examples shows."""

    values: NDArray[np.float64]  # `(n_examples, heads of the model now, len(COLUMNS))`; NaN where nothing is shown
    faults: dict[str, str]  # name of a block -> why its map is none that can be looked at


def _look(examples: Examples) -> Seen:
    """One forward pass; and a few on one example, which prove the maps."""
    model, batches, reporter = examples.model, examples.batches, examples.predictions.reporter
    n_heads = [block.n_heads for block in attention_blocks(model)]
    starts, device = np.cumsum([0, *n_heads]), next(model.parameters()).device
    values = np.full((batches.n_examples, starts[-1], len(COLUMNS)), np.nan)
    with (
        torch.inference_mode(),
        observing_proved(model, one_row(batches, device)) as (observe, faults),
        reporter.stage("looking", batches.n_examples) as progress,
    ):
        for batch in (each.to(device) for each in batches):
            for each in observe(**batch.inputs):
                found = _reduced(each, batches, batch).cpu().double().numpy()
                check_finite(found, batch.index, f"what the heads of {each.block.name} send")
                values[batch.index, starts[each.place] : starts[each.place + 1], : found.shape[2]] = found
            progress(len(batch.index))
    return Seen(values, faults)


def one_row(batches: Batches, device: torch.device) -> dict[str, object]:
    """The longest example, a row without padding, to prove maps on."""
    inputs = batches.batch(np.asarray([batches.n_tokens.argmax()])).to(device).inputs
    return {name: value[:1] if isinstance(value, Tensor) else value for name, value in inputs.items()}


def real_queries(each: Attention, batches: Batches, batch: Batch) -> Tensor:
    """`(rows, queries)`: which queries of a block are no padding; an `UnfitError` if they are not the texts' tokens."""
    position, length = positions(each.block.stack, batches, batches.rows_of(batch.index), batch.inputs)
    shape = each.context.shape[:2]
    if position is None or length is None:
        return torch.ones(shape, dtype=torch.bool, device=each.context.device)
    if position.shape != shape:
        must = "the queries of a block must be the tokens of the texts, for padding to be told from them"
        got = f"those of {each.block.name} are {tuple(shape)} for {tuple(position.shape)}"
        raise UnfitError(f"{must}; {got}. Take a criterion by gradients")
    return (position >= 0) & (position < length)


def _reduced(each: Attention, batches: Batches, batch: Batch) -> Tensor:
    """`(examples, heads, columns)`: means over the queries of each example; of a block without a map the first only."""
    real, n_rows = real_queries(each, batches, batch), len(batch.targets)
    columns, counted = [each.context.float().norm(dim=-1)], [real]  # `(rows, queries, heads)` each
    if each.map is not None:
        maps = each.map.float()
        allowed = maps.amax(dim=1) > 0  # `(rows, queries, keys)`
        n_keys = allowed.sum(dim=-1)
        first = (allowed & real[..., None]).any(dim=1).int().argmax(dim=-1)
        on_first = maps[torch.arange(len(maps)), ..., first]
        entropy = torch.special.entr(maps).sum(dim=-1) / n_keys.clamp(min=2).log()[:, None]
        columns += [column.transpose(1, 2) for column in (1 - entropy, maps.amax(dim=-1), 1 - on_first)]
        counted += [real & (n_keys > 1)] * 3
    weights = torch.stack(counted, dim=-1)[:, :, None].float()
    above = torch.where(weights > 0, torch.stack(columns, dim=-1), 0)

    def summed(rows: Tensor) -> Tensor:
        """Over the queries of each example; windows of an image stand one after the other as rows of their own."""
        return batch.by_example(rows.reshape(n_rows, -1, *rows.shape[2:]).sum(dim=1))

    return summed(above) / summed(weights).clamp(min=1)


def _column(examples: Examples, name: str) -> NDArray[np.float64]:
    """`(n_examples, heads of the model now)`, from a pass that all criteria of this file share.

    An `UnsupportedModelError` if a block does not show it.
    """
    examples.spend("forward", 1)
    found = examples.once("forward", lambda: _look(examples))
    values = found.values[..., COLUMNS.index(name)]
    sizes = [(block.name, block.n_heads) for block in attention_blocks(examples.model)]
    names = np.repeat([name for name, _ in sizes], [n for _, n in sizes])
    if bare := dict.fromkeys(names[np.isnan(values).any(axis=0)].tolist()):
        first = next(iter(bare))
        why = found.faults.get(first, f"{first} must run, but shows nothing")
        raise UnsupportedModelError(f"{why}. Take a criterion by gradients, or output-norm")
    return values


def output_norm(examples: Examples) -> HeadScores:
    """The length of what the head sends into W_O, of head_dim numbers: AHON of Sandoval-Segura et al. (2025).

    Their variant with the head's slice of W_O is not in their tables, and not here.
    """
    return examples.mean(_column(examples, "output-norm"))


def relative_norm(examples: Examples) -> HeadScores:
    """The same as a multiple of its mean over the heads of the block that are there, example by example: AHON (LN)."""
    norms, columns = _column(examples, "output-norm").copy(), examples.columns
    blocks = np.repeat(*np.transpose([(i, b.n_heads) for i, b in enumerate(attention_blocks(examples.model))]))
    for i in np.unique(blocks[columns]):
        mean = norms[:, (blocks == i) & columns].mean(axis=1, keepdims=True)
        norms[:, blocks == i] = norms[:, blocks == i] / np.where(mean > 0, mean, 1)
    return examples.mean(norms)


def entropy(examples: Examples) -> HeadScores:
    """1 - H / log n of each query that has n keys: 1 for a head that looks at one key, 0 for one that looks at all."""
    return examples.mean(_column(examples, "entropy"))


def confidence(examples: Examples) -> HeadScores:
    """The largest weight of each query (Voita et al., 2019)."""
    return examples.mean(_column(examples, "confidence"))


def first_token(examples: Examples) -> HeadScores:
    """1 minus the weight on the first key, so that dormant heads come last: AWFT of Sandoval-Segura et al. (2025)."""
    return examples.mean(_column(examples, "first-token"))


def hies(examples: Examples) -> HeadScores:
    """HIES of Choi et al. (2025) with its weight fixed at 0.5 beforehand; they choose it for each task and ratio.

    The half sum of the scores `gradient` (estimator `example`) and `entropy`, each from 0 to 1 over all heads. That is
    their 1 - minmax(H), of entropies that are divided by log n. There is no standard error.
    """
    gradients = ESTIMATORS["example"].score(examples.gradients, 1)
    parts = (replace(gradients, gone=gradients.gone | examples.gone), entropy(examples))
    first, second = (min_max(replace(part, standard_error=None)).values for part in parts)
    return HeadScores(tuple((a + b) / 2 for a, b in zip(first, second, strict=True)), gone=examples.gone)
