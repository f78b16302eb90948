"""How fast a model is as it was, with heads masked by gates, and with the same heads removed (paper, table 4).

A run times the three sides one after the other on the same batches, the order turning from run to run, so that what
slows the machine down slows all of them. What is timed is one forward pass over one batch of fixed length, or over the
same examples in batches of real lengths; where that takes too little time for a clock, it is repeated inside the run.
"""

import copy
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prune_heads.budget import budget
from prune_heads.checkpoints import head, pruned, use_onednn
from prune_heads.errors import DataError, UnfitError
from prune_heads.evaluation import Subject, n_positions
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.objectives.batches import Batches
from prune_heads.options import Bench
from prune_heads.progress import Progress, Reporter
from prune_heads.studies.pruning import prune
from prune_heads.surgery import removed_heads
from prune_heads.tasks.task import Split

SIDES = ("original", "masked", "removed")
_SHORTEST_SECONDS = 0.05  # what a side takes in a run, at least; a clock and a scheduler are a thousand times finer


class Contest(NamedTuple):
    """A model, and the same without the heads of a mask."""

    original: PreTrainedModel
    removed: PreTrainedModel
    mask: HeadMask


class Race(NamedTuple):
    """Batches that all sides run over, of `fixed` or `real` lengths."""

    lengths: str
    batch_size: int
    inputs: list[dict[str, Tensor]]

    @property
    def n_examples(self) -> int:
        """In all batches."""
        return len(self.inputs) * self.batch_size

    @property
    def n_tokens(self) -> list[int]:
        """Tokens, padding included, of an example of each batch."""
        return [batch["input_ids"].shape[1] for batch in self.inputs]


def original_of(subject: Subject) -> PreTrainedModel:
    """The subject's model before heads were removed: a copy, or one filled up with zeros, which costs the same."""
    model = subject.classifier.model
    if not removed_heads(model):
        return copy.deepcopy(model)
    original = pruned.dense_model(model).to(subject.device)
    use_onednn(original)
    return original


def bench(
    subject: Subject, original: PreTrainedModel, mask: HeadMask, split: Split, options: Bench, reporter: Reporter
) -> dict[str, Any]:
    """Examples per second of each side, ratios to the original in each run, and the ceiling of each gain.

    The mask's heads leave the subject's model; `original` is what `original_of` gave before. The split's texts run.

    Returns:
        parameters (before, pruned), length, shortest_seconds, and rows, one a kind of lengths and batch size: lengths,
        batch_size, n_examples of a pass, n_tokens (of an example, padding included, the mean), n_passes inside a run,
        examples_per_second {side: mean, deviation, each}, ratio {side: median, each}, ceiling (None if not known).

    Raises:
        DataError: If there are fewer examples than a batch has, or the length is more than the model takes.
        UnfitError: If the task is not of texts.
        PruneHeadsError: If the heads cannot be removed, masks are not applied, or the sides give different logits.
    """
    if subject.objective.head.reads != "text":
        must = f"bench must be given texts, which it times by their tokens; got {subject.objective.name}"
        raise UnfitError(f"{must}. 'prune-heads info' counts what removed heads save")
    room = min(n_positions(subject.model), subject.classifier.tokenizer.model_max_length)
    length = options.length or min(128, room)  # what the paper pads its texts to
    if length > room:
        raise DataError(f"--length must be at most what the model takes, {room} tokens; got {length}")
    batches = subject.batches(split)
    if (largest := max(options.sizes(batches.n_examples))) > batches.n_examples:
        most = f"the number of examples, {batches.n_examples} of {split.name}"
        raise DataError(f"--batch-sizes must be at most {most}; got {largest}")
    contest = Contest(original, subject.classifier.model, mask)
    parameters = prune(contest.removed, mask, "remove", subject.classifier.probe_inputs())
    if note := about_ceilings(contest):
        reporter.note(note)
    races = list(_races(subject, split, batches, length, options))
    rows, total = [], len(SIDES) * options.runs * sum(race.n_examples for race in races)
    with reporter.stage("bench", total) as progress:
        for race in races:
            rows.append(_run(contest, race, options.runs, progress))
            _note_above(rows[-1], reporter)
    return {"parameters": parameters, "length": length, "shortest_seconds": _SHORTEST_SECONDS, "rows": rows}


def _races(subject: Subject, split: Split, batches: Batches, length: int, options: Bench) -> Iterator[Race]:
    """Of fixed length one batch, since all cost the same; of real lengths the same examples for all batch sizes."""
    fixed = replace(subject, max_length=length).batches(split)
    sizes = options.sizes(batches.n_examples)
    for size in sizes:
        yield Race("fixed", size, [fixed.batch(np.arange(size), pad_to=length).to(subject.device).inputs])
    for size in sizes:
        index = (np.arange(start, start + size) for start in range(0, max(sizes) - size + 1, size))
        yield Race("real", size, [batches.batch(i).to(subject.device).inputs for i in index])


def _run(contest: Contest, race: Race, n_runs: int, progress: Progress) -> dict[str, Any]:
    """One row."""
    warm = {name: [_seconds(contest, race, name, 1) for _ in range(2)] for name in SIDES}
    n_passes = max(1, math.ceil(_SHORTEST_SECONDS / min(last for _, last in warm.values())))
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    for run in range(n_runs):
        turn = run % len(SIDES)
        for name in (*SIDES[turn:], *SIDES[:turn]):
            seconds[name].append(_seconds(contest, race, name, n_passes))
            progress(race.n_examples)
    ratios = {name: [a / b for a, b in zip(seconds["original"], seconds[name], strict=True)] for name in SIDES[1:]}
    speeds = {name: [race.n_examples * n_passes / s for s in seconds[name]] for name in SIDES}
    per_second = {name: {"mean": fmean(each), "deviation": stdev(each), "each": each} for name, each in speeds.items()}
    return {
        **{name: getattr(race, name) for name in ("lengths", "batch_size", "n_examples")},
        "n_tokens": fmean(race.n_tokens),
        "n_passes": n_passes,
        "examples_per_second": per_second,
        "ratio": {name: {"median": median(each), "each": each} for name, each in ratios.items()},
        "ceiling": ceiling(contest, race),
    }


@torch.inference_mode()
def _seconds(contest: Contest, race: Race, name: str, n_passes: int) -> float:
    """What a side takes for so many passes over the batches of a race."""
    original, removed, mask = contest
    model, device = removed if name == "removed" else original, race.inputs[0]["input_ids"].device
    with gated(model, gates_of(model, mask)) if name == "masked" else nullcontext():
        _synchronize(device)
        start = time.perf_counter()
        for _ in range(n_passes):
            for inputs in race.inputs:
                model(**inputs)
        _synchronize(device)
        return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    """Wait for an accelerator, which computes while Python goes on."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def ceiling(contest: Contest, race: Race) -> float | None:
    """Multiply-adds of the original over those of the removed model, all batches together; None where not known."""
    if head.objective_of(contest.original.config, type(contest.original).__name__) is not None:
        return None
    before = after = 0
    for n_tokens, n_batches in Counter(race.n_tokens).items():
        counts = budget(contest.original, contest.mask, n_tokens)["multiply_adds"]
        if counts["before"] is None:
            return None
        before += n_batches * counts["before"]["total"]
        after += n_batches * counts["after"]["total"]
    return before / after


def about_ceilings(contest: Contest) -> str:
    """Why there are none, or what they leave out; empty where they are exact."""
    if head.objective_of(contest.original.config, type(contest.original).__name__) is not None:
        return "no ceilings: bench gives them for classifiers; prune-heads info counts a language model"
    notes = budget(contest.original, contest.mask)["notes"]
    return next((f"ceilings: {note}" for note in notes if note.startswith("multiply-adds")), "")


def _note_above(row: Mapping[str, Any], reporter: Reporter) -> None:
    """By every run, since the median of a few is above a close ceiling half of the time."""
    lowest, most = min(row["ratio"]["removed"]["each"]), row["ceiling"]
    if most is not None and lowest > most:
        gain = f"removed heads gain more than their multiply-adds ({lowest:.2f}x at least, ceiling {most:.2f}x)"
        of = f"{row['lengths']} lengths, batch {row['batch_size']}"
        reporter.note(f"{of}: {gain}: what is no multiply-add, such as a softmax, goes too")
