"""Scoring by gates against the published protocol, timed in turn in one process.

The published protocol (Michel et al., 2019, and scripts derived from it) pads every example to 128 tokens, takes
batches in file order, keeps gradients of all parameters, and reads the gradient of each layer's context. Both
sides use the same model, attention kernel, examples and batch size; tokenising is not timed. Their scores must
agree, or no ratio is given.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.anatomy import attention_blocks
from prune_heads.errors import PruneHeadsError, TaskError
from prune_heads.evaluation import Subject, n_positions
from prune_heads.importance import ESTIMATORS, gate_gradients
from prune_heads.objectives.batches import Batches
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.studies.setup import identify_model, identify_split, load_split, load_subject

_PUBLISHED_LENGTH = 128
_TOLERANCE = 1e-3
"""The scores of both sides must agree to 3 digits."""


def benchmark_scoring(setup: Setup, reporter: Reporter, *, repeats: int = 3) -> dict[str, Any]:
    """Median seconds of both, their ratio in each repeat, and how far their scores are apart.

    Raises:
        PruneHeadsError: If model or task cannot be loaded, or the scores do not agree.
    """
    subject = load_subject(setup, reporter)
    check_published(subject)
    split = load_split(setup, subject, subject.task.spec.score_split, reporter)
    batches = subject.batches(split)
    subject.prove_gates(batches)
    model, device = subject.model, subject.device
    sides: dict[str, Callable[[], NDArray[np.float64]]] = {
        "published": lambda: published_scores(model, batches, device),
        "gates": lambda: _token_scores(model, batches),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, NDArray[np.float64]] = {}
    n = batches.n_examples
    with reporter.stage("benchmark", 2 * n * (repeats + 1)) as progress:
        for repeat in range(repeats + 1):  # the first is warm-up
            for name, side in sides.items():
                start = time.perf_counter()
                scores[name] = side()
                if repeat:
                    seconds[name].append(time.perf_counter() - start)
                progress(n)
    apart = float(np.max(np.abs(scores["gates"] / scores["published"] - 1)))
    if not apart < _TOLERANCE:
        raise PruneHeadsError(
            f"both protocols must give the same scores before their times are compared; they are {apart:.1e} apart"
        )
    ratios = [a / b for a, b in zip(seconds["published"], seconds["gates"], strict=True)]
    return {
        **identify_model(subject.classifier),
        "data": identify_split(split),
        "task": subject.task.spec.name,
        "n_examples": n,
        "batch_size": batches.batch_size,
        "threads": torch.get_num_threads(),
        "tokens": {"published": published_length(model) * n, "gates": int(batches.n_tokens.sum())},
        "seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "relative_difference_of_scores": apart,
    }


def check_published(subject: Subject) -> None:
    """Refuse a language model, for the published protocol is that of classifiers.

    Raises:
        TaskError: Saying so.
    """
    if subject.classifier.objective is not None:
        raise TaskError(
            f"the task must be one of labels, as those of the published protocol are; got {subject.task.spec.name}"
        )


def published_length(model: nn.Module) -> int:
    """Tokens to which the published protocol pads: 128, or the model's positions where there are fewer."""
    return min(_PUBLISHED_LENGTH, n_positions(model))


def published_scores(model: nn.Module, batches: Batches, device: torch.device) -> NDArray[np.float64]:
    """The authors' token scores, `(total heads,)`, by their protocol, with gradients zeroed before each batch."""
    blocks = attention_blocks(model)
    contexts: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        args[0].retain_grad()
        contexts.append(args[0])

    handles = [block.output.module.register_forward_pre_hook(keep) for block in blocks]
    sums = [torch.zeros(block.n_heads, dtype=torch.float64) for block in blocks]
    try:
        for start in range(0, batches.n_examples, batches.batch_size):
            index = np.arange(start, min(start + batches.batch_size, batches.n_examples))
            batch = batches.batch(index, pad_to=published_length(model)).to(device)
            contexts.clear()
            model.zero_grad()
            batches.objective.losses(model(**batch.inputs), batch).mean().backward()
            for block, total, context in zip(blocks, sums, contexts, strict=True):
                by_dimension = context.detach() * context.grad  # type: ignore[operator]
                product = by_dimension.unflatten(-1, (block.n_heads, block.head_dim)).sum(-1)
                # The mean of the batch makes every gradient smaller by the batch size; undone, as sizes differ.
                total += product.abs().sum((0, 1)).double().cpu() * len(index)
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
    n_tokens = int(batches.n_tokens.sum())
    scores: NDArray[np.float64] = torch.cat([*(s / n_tokens for s in sums[:-1]), sums[-1] / batches.n_examples]).numpy()
    return scores


def _token_scores(model: nn.Module, batches: Batches) -> NDArray[np.float64]:
    gradients = gate_gradients(model, batches)
    return ESTIMATORS["token"].score(gradients, batches.batch_size).flat()
