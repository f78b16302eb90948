"""The table of criteria. One of one's own is a function like these; see `own`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from prune_heads.ablation import ablations, predict_masks
from prune_heads.anatomy import AttentionBlock, attention_blocks, gone_from
from prune_heads.errors import CriterionError
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.criterion import Criterion, Examples
from prune_heads.importance.estimators import ESTIMATORS, standard_error
from prune_heads.importance.own import named_criterion
from prune_heads.predictions import Predictions
from prune_heads.surgery import removed_heads


def gradient(examples: Examples) -> HeadScores:
    """The estimator of the gate gradients that is asked for."""
    size = examples.predictions.subject.batch_size
    scores = ESTIMATORS[examples.estimator].score(examples.gradients, size)
    return replace(scores, gone=scores.gone | examples.gone)


def ablation(examples: Examples) -> HeadScores:
    """The headline metric minus the metric without the head, for each head that is left (paper, sections 3.2 and 4.1).

    The standard error is that of the mean of the paired differences of the examples, of a metric that is a mean, such
    as accuracy; other metrics have none. What the store knows is not computed again.
    """
    predictions = examples.predictions
    masks = asked_masks(predictions, examples.masked)
    found = predict_masks(predictions, masks)
    base, *without = (predictions.metric_of(found[mask]) for mask in masks)
    errors, each = None, predictions.measure.each
    if each is not None:
        before, *after = (each(predictions.answers(found[m]), predictions.references) for m in masks)
        errors = standard_error(np.stack([before.astype(float) - one for one in after], axis=1))
    return HeadScores.of_the_rest(np.subtract(base, without), masks[0], errors)


def asked_masks(predictions: Predictions, masked: HeadMask | None = None) -> list[HeadMask]:
    """The masks under which `ablation` needs predictions: of no head more, and of each head that is left."""
    start = predictions.gone if masked is None else predictions.gone | masked
    return [start, *ablations("without-one", start).values()]


@torch.no_grad()
def magnitude(examples: Examples) -> HeadScores:
    """The l2 norm of each head's weights: its rows of W_Q, W_K, W_V and its columns of W_O, no biases."""
    blocks = attention_blocks(examples.whole)
    norms = [_norm(block, i) for block in blocks for i in range(block.n_heads)]
    return HeadScores.of_the_rest(norms, gone_from(blocks))


def _norm(block: AttentionBlock, place: int) -> float:
    """With keys and values that several heads share, these are counted for each of them."""
    group = place * block.n_kv_heads // block.n_heads
    inputs = ((block.query, place), (block.key, group), (block.value, group))
    own = [block.output.weight[:, block.output.dimensions([place])]]
    own += [p.weight[p.dimensions([i])] for p, i in inputs]
    return float(sum(weight.double().square().sum() for weight in own)) ** 0.5


def random(examples: Examples) -> HeadScores:
    """Uniform numbers from [0, 1) for the heads that are there, a pure function of the seed."""
    gone = removed_heads(examples.whole)
    return HeadScores.of_the_rest(random_scores([len(~gone)], examples.seed).flat(), gone)


def random_scores(n_heads: Sequence[int], seed: int) -> HeadScores:
    """The same of a model with so many heads a block."""
    return HeadScores.from_flat(np.random.default_rng(seed).random(sum(n_heads)), n_heads)


CRITERIA: Mapping[str, Criterion] = {
    "gradient": Criterion(gradient, "gradients", "derivative of the loss by each head's gate (Michel et al., 2019)"),
    "ablation": Criterion(ablation, "answers", "what the metric loses when the head alone is masked"),
    "magnitude": Criterion(magnitude, "weights", "l2 norm of the head's weights"),
    "random": Criterion(random, "nothing", "uniform numbers from a seed"),
}
"""`--criterion` -> how a model's heads are scored."""


def criterion_of(name: str) -> Criterion:
    """A row of `CRITERIA`, or one's own by `my_module:function` or `file.py:function`.

    Raises:
        CriterionError: If there is none, or it cannot be imported.
    """
    if name in CRITERIA:
        return CRITERIA[name]
    if ":" in name:
        return named_criterion(name)
    raise CriterionError(
        f"the criterion must be one of {', '.join(CRITERIA)}, or one's own as my_module:function or file.py:function; "
        f"got {name!r}"
    )
