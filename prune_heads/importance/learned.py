"""Scores that are learned as gates of the heads: from both sides, with an L0 penalty, and as a subset of given size."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from prune_heads.heads import HeadScores
from prune_heads.importance.criteria import Examples
from prune_heads.importance.learning import learning

PULL, CLIPPED = 0.1, 4.0  # of `causal_gates`: weight of the mean logit, which is clipped at this size in it
STRETCH, TEMPERATURE = (-0.1, 1.1), 0.33  # of the hard-concrete distribution, as Voita et al. have them
L0 = 1.0  # weight of the mean probability to be open: the best of 0.1, 0.3 and 1 on training data of the built-in suite
KEPT, COOLING = 0.5, (1000.0, 1e-8)  # of `subset_gates`: share of the heads, and temperature at both ends


def causal_gates(examples: Examples) -> HeadScores:
    """G+ + G- - 1, in [-1, 1]: of gates that a penalty pulls open (G+) and closed (G-); Nam et al. (2025).

    Three fits share the updates. The first has no penalty, and starts from uniform gates. The other two start from its
    gates, with minus and plus `PULL` times the mean of the logits, clipped at +-`CLIPPED`. A head facilitates as far as
    it stays open against the pull, G-; it interferes as far as it stays closed, 1 - G+; the score is the difference.
    Where neither is so it is irrelevant, near 0.

    Rates, weights, clipping and start are those of the authors' package, which calls the gates that it pulls open
    necessary, and those that it pulls closed sufficient: the other way round.
    """
    n, rng = len(examples.there), np.random.default_rng([examples.seed, examples.updates])
    each = (examples.updates + 1) // 3

    def gates(logits: Tensor, noise: Tensor, done: float) -> Tensor:
        return logits.sigmoid()

    def pull(logits: Tensor) -> Tensor:
        return PULL * logits.clamp(-CLIPPED, CLIPPED).mean()

    with learning(examples, "causal-gates") as learner:
        start = torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, n)).logit()
        plain = learner.fit(start, examples.updates - 2 * each, 1.0, gates)
        up = learner.fit(plain, each, 1.0, gates, lambda logits: -pull(logits))
        down = learner.fit(plain, each, 1.0, gates, pull)
    return HeadScores.of_the_rest((up.double().sigmoid() + down.double().sigmoid() - 1).numpy(), examples.gone)


def l0_gates(examples: Examples) -> HeadScores:
    """Log alpha of hard-concrete gates, learned with `L0` times the mean probability that a head is open.

    A gate is a sigmoid of (logistic noise + log alpha) / `TEMPERATURE`, stretched to `STRETCH` and cut at 0 and 1
    (Louizos et al., 2018; of heads Voita et al., 2019, whose weights learn with the gates; ours are frozen). Gates
    start open, at log alpha 2. The probability to be open is sigmoid(log alpha - `TEMPERATURE` log(0.1 / 1.1)): the
    same order, but it saturates.
    """
    low, high = STRETCH
    shift = TEMPERATURE * math.log(-low / high)

    def gates(log_alpha: Tensor, noise: Tensor, done: float) -> Tensor:
        concrete = ((noise.logit() + log_alpha) / TEMPERATURE).sigmoid()
        return (concrete * (high - low) + low).clamp(0, 1)

    with learning(examples, "l0-gates") as learner:
        start = torch.full((len(examples.there),), 2.0)
        found = learner.fit(start, examples.updates, 0.1, gates, lambda a: L0 * (a - shift).sigmoid().mean())
    return HeadScores.of_the_rest(found.double().numpy(), examples.gone)


def subset_gates(examples: Examples) -> HeadScores:
    """The logit by which a head is drawn into the `KEPT` share of the heads; Li, Cotterell and Sachan (2021).

    Gates are a relaxed subset of k heads: Gumbel noise is added to the logits, and k softmaxes follow each other, each
    without what the former took (Xie and Ermon, 2019). The temperature falls log-linearly over all updates within
    `COOLING`, as published for 8,333 updates of a fixed model. Logits start at 0.
    """
    n = len(examples.there)
    n_kept = max(1, int(n * KEPT))

    def gates(logits: Tensor, noise: Tensor, done: float) -> Tensor:
        temperature = COOLING[0] * (COOLING[1] / COOLING[0]) ** done
        return soft_top_k(logits.double() - (-noise.log()).log(), n_kept, temperature)

    with learning(examples, "subset-gates") as learner:
        found = learner.fit(torch.zeros(n), examples.updates, 0.5, gates)
    return HeadScores.of_the_rest(found.double().numpy(), examples.gone)


def soft_top_k(keys: Tensor, k: int, temperature: float) -> Tensor:
    """`(n,)` of sum k, which is 1 at the k largest keys and 0 elsewhere as the temperature goes to 0; in float64."""
    total = torch.zeros_like(keys)
    for _ in range(k):
        taken = log_softmax(keys / temperature, dim=0).exp()
        total = total + taken
        keys = keys + (1 - taken).clamp(min=torch.finfo(keys.dtype).tiny).log()
    return total
