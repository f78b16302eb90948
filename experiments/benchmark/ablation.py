"""A full table of ablations, timed in turn against one masked evaluation at a time and the published protocol.

The published protocol (Michel et al., 2019) starts a process a head, pads every example to 128 tokens, takes batches
in file order, and runs the model twice, once for the loss and once for the logits, by PyTorch's own linear maps. One
evaluation by it is timed, process and all, and multiplied by the number of heads; so is one masked evaluation by gates.
The engine's table is timed in full. Tokenising is timed only where the protocol repeats it.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.benchmark.scoring import check_published, published_length
from prune_heads.ablation import DEFAULT_MEMORY, ManyMasks, ablations
from prune_heads.ablation.mixed import check_margins, corrected, n_different
from prune_heads.anatomy import AttentionBlock, attention_blocks
from prune_heads.checkpoints import kernels, use_pytorch
from prune_heads.errors import UnfitError
from prune_heads.evaluation import predict
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.objectives.base import Kept
from prune_heads.options import Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.studies.setup import identify_model, identify_split, load_split, load_subject, predictions_of

_RATE_ROWS = 4096


def benchmark_ablation(setup: Setup, reporter: Reporter, *, repeats: int = 3, compiled: bool = False) -> dict[str, Any]:
    """Median seconds of each side, ratios to the engine in each repeat, and the floor of the machine.

    Args:
        setup: Model, task and conditions; the sides that are compared run in float32. So does the engine in bfloat16,
            and where answers are chosen in mixed precision, which is bfloat16 and then what float32 corrects of it.
        reporter: Told about stages and notes.
        repeats: Timed repeats of all sides, in turn; a batch of each is run before.
        compiled: Compile the engine's layers first; the time that takes is given apart.

    Raises:
        PruneHeadsError: If model or task cannot be loaded, or masks are not applied.
    """
    exact = _Side(replace(setup, dtype="float32"), reporter, compiled)
    low = _Side(replace(setup, dtype="bfloat16"), reporter, compiled)
    split, masks = exact.predictions.split, exact.masks
    probe = masks[len(masks) // 2]
    timed: dict[str, Callable[[], Any]] = {
        "engine": exact.table,
        "bfloat16": low.table,
        "one_at_a_time": lambda: exact.alone(probe),
        "published": lambda: published_evaluation(exact.setup, split.name, probe),
    }
    with suppress(UnfitError):
        check_margins(exact.predictions.subject)
        timed["correction"] = lambda: corrected(exact.predictions, results["bfloat16"], exact.run.pairs)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    rates: list[float] = []
    results: dict[str, Any] = {}
    n = exact.predictions.batches.n_examples
    with reporter.stage("benchmark", repeats * len(timed) * n) as progress:
        for _ in range(repeats):
            rates.append(matrix_rate(exact.predictions.subject.model))
            for name, side in timed.items():
                start = time.perf_counter()
                results[name] = side()
                seconds[name].append(time.perf_counter() - start)
                progress(n)
    n_heads = len(masks)
    for name in ("one_at_a_time", "published"):
        seconds[name] = [n_heads * value for value in seconds[name]]
    mixed: dict[str, Any] = {}
    if "correction" in timed:
        both = [sum(each) for each in zip(seconds["bfloat16"], seconds["correction"], strict=True)]
        mixed = {"seconds": _median(both), "ratios": _ratios_to(both, seconds)}
        mixed |= _flips(exact, results["engine"], results["correction"])
        ran = exact.predictions.corrections[-1]
        mixed |= {name: ran[name] for name in ("n_pairs", "n_float32", "bound")}
    needed = ablation_multiply_adds(
        attention_blocks(exact.predictions.subject.model),
        exact.predictions.batches.n_tokens,
        one_position=exact.reads_one_position,
    )
    floor = [needed / rate for rate in rates]
    ratios = {name: _ratios(seconds[name], seconds["engine"]) for name in ("one_at_a_time", "published")}
    return {
        **identify_model(exact.predictions.subject.classifier),
        "data": identify_split(split),
        "task": exact.predictions.subject.task.spec.name,
        "n_examples": exact.predictions.batches.n_examples,
        "n_tokens": int(exact.predictions.batches.n_tokens.sum()),
        "n_variants": n_heads,
        "batch_size": exact.predictions.batches.batch_size,
        "threads": torch.get_num_threads(),
        "dtype": "float32",
        "linear_maps": kernels(),
        "compiled": compiled,
        "compile_seconds": round(exact.compile_seconds, 1) if compiled else None,
        "sides": {
            "engine": {"seconds": _median(seconds["engine"])},
            **{
                name: {"seconds": _median(seconds[name]), "extrapolated_from": f"1 of {n_heads} evaluations"}
                for name in ratios
            },
        },
        "ratios": {name: round(statistics.median(each), 2) for name, each in ratios.items()},
        "each": {name: [round(ratio, 2) for ratio in each] for name, each in ratios.items()},
        "floor": {
            "multiply_adds": needed,
            "matrix_rate": statistics.median(rates),
            "seconds": _median(floor),
            "share": round(statistics.median(_ratios(floor, seconds["engine"])), 3),
        },
        "bfloat16": {
            "seconds": _median(seconds["bfloat16"]),
            "ratios": _ratios_to(seconds["bfloat16"], seconds),
            **_flips(exact, results["engine"], results["bfloat16"]),
        },
        "mixed": mixed,
    }


class _Side:
    """The engine in one precision, warmed up."""

    def __init__(self, setup: Setup, reporter: Reporter, compiled: bool) -> None:
        self.setup = setup
        subject = load_subject(setup, reporter)
        check_published(subject)
        split = load_split(setup, subject, subject.task.spec.eval_splits[0], reporter)
        self.predictions: Predictions = predictions_of(setup, subject, split, reporter)
        subject.prove_gates(self.predictions.batches)
        self.masks = list(ablations("without-one", self.predictions.gone).values())
        memory = DEFAULT_MEMORY[subject.device.type]
        self.run = ManyMasks(self.predictions, [self.predictions.gone, *self.masks], memory, compiled=compiled)
        together = self.run.together
        self.reads_one_position = together is not None and together.plan.position is not None
        batches = list(self.predictions.batches)
        start = time.perf_counter()
        for batch in (batches[0], batches[-1], batches[len(batches) // 2]):
            self.run.logits(batch)
        self.compile_seconds = time.perf_counter() - start

    def table(self) -> Kept:
        """The logits under every mask, `(1 + n_heads, n_examples, n_labels)`, in file order."""
        rows = [(batch.index, self.run.logits(batch)) for batch in self.predictions.batches]
        order = np.argsort(np.concatenate([index for index, _ in rows]))
        return np.concatenate([kept for _, kept in rows], axis=1)[:, order]

    def alone(self, mask: HeadMask) -> Kept:
        """One masked evaluation with the same batches."""
        model = self.predictions.subject.model
        return predict(model, self.predictions.batches, gates_of(model, mask))


def published_evaluation(setup: Setup, split: str, mask: HeadMask) -> float:
    """The mean loss under a mask by the published protocol, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_in_a_process, (setup, split, mask, torch.get_num_threads()))


def _in_a_process(setup: Setup, split: str, mask: HeadMask, n_threads: int) -> float:
    torch.set_num_threads(n_threads)
    subject = load_subject(setup, Reporter())
    use_pytorch(subject.model)
    batches = subject.batches(load_split(setup, subject, split, Reporter()))
    model = subject.model
    losses: list[Tensor] = []
    with torch.no_grad(), gated(model, gates_of(model, mask)):
        for start in range(0, batches.n_examples, batches.batch_size):
            index = np.arange(start, min(start + batches.batch_size, batches.n_examples))
            batch = batches.batch(index, pad_to=published_length(model)).to(subject.device)
            losses.append(batches.objective.losses(model(**batch.inputs), batch))
            _ = model(**batch.inputs).logits.argmax(dim=-1)  # the second pass, for the predictions
    return float(torch.cat(losses).mean())


def matrix_rate(model: torch.nn.Module, *, repeats: int = 7) -> float:
    """Multiply-adds a second of the machine on the model's own feed-forward matrix, the best of some repeats."""
    widest = max(attention_blocks(model)[0].linears(), key=lambda m: m.weight.shape[0])
    weight = widest.weight
    x = torch.randn(_RATE_ROWS, weight.shape[1], dtype=weight.dtype, device=weight.device)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.perf_counter()
            widest.module(x)
            if x.is_cuda:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    return x.shape[0] * weight.numel() / best


def ablation_multiply_adds(blocks: Sequence[AttentionBlock], n_tokens: NDArray[np.int64], *, one_position: bool) -> int:
    """Multiply-adds that a table of every head's ablation needs in the layers, nothing computed twice.

    One pass without a mask; then for each head what comes after its layer's attention, and the layers above. Without
    padding, embeddings, norms and the classifier, which are small beside it.

    Args:
        blocks: Of the model.
        n_tokens: `(n_examples,)` tokens of each example.
        one_position: Whether the last layer is needed for one position only, which leaves of its keys and values
            n_heads products with its input.
    """
    tokens, squares, n = int(n_tokens.sum()), int((n_tokens.astype(np.int64) ** 2).sum()), len(n_tokens)
    whole, after = [], []  # a layer for all tokens; what comes after its attention
    for block in blocks:
        linear, own = _linear_parameters(block)
        whole.append(tokens * linear + 2 * squares * block.n_heads * block.head_dim)
        after.append(tokens * (linear - own))
    total = sum(whole)
    if one_position:
        last = blocks[-1]
        linear, own = _linear_parameters(last)
        mixing = 2 * tokens * last.n_heads * last.key.weight.shape[1]
        whole[-1], after[-1] = n * linear + mixing, n * (linear - own)
    for i, block in enumerate(blocks):
        total += block.n_heads * (after[i] + sum(whole[i + 1 :]))
    return total


def _linear_parameters(block: AttentionBlock) -> tuple[int, int]:
    """Weights of the linear maps of the block's layer, and of W_Q, W_K and W_V among them."""
    own = {p.module: p.weight.numel() for p in (block.query, block.key, block.value)}
    return sum(m.weight.numel() for m in block.linears()), sum(own.values())


def _flips(exact: _Side, first: Kept, second: Kept) -> dict[str, int]:
    """Nothing for regression: a score has no label to flip."""
    subject = exact.predictions.subject
    if not subject.objective.chooses:
        return {}
    return {
        "n_predictions": first.shape[0] * first.shape[1],
        "n_flipped": sum(n_different(subject.objective, a, b) for a, b in zip(first, second, strict=True)),
    }


def _ratios_to(side: Sequence[float], seconds: dict[str, list[float]]) -> dict[str, float]:
    """Of the float32 sides to one in less."""
    names = ("engine", "one_at_a_time", "published")
    return {name: round(statistics.median(_ratios(seconds[name], side)), 2) for name in names}


def _ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(first, second, strict=True)]


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)
