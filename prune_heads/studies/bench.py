"""How fast a model is as it was, with heads masked by gates, and with the same heads removed (paper, table 4).

A run times the three sides one after the other on the same batches, the order turning from run to run, so that what
slows the machine down slows all of them. What is timed is one forward pass over one batch of fixed length, or over the
same examples in batches of real lengths; where that takes too little time for a clock, it is repeated inside the run.
"""

import copy
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from prune_heads.errors import DataError, HeadDescriptorError, OptionError, UnfitError
from prune_heads.evaluation import Subject, n_positions
from prune_heads.gating import gated, gates_of
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.options import Bench, Choice, Setup
from prune_heads.progress import Progress, Reporter
from prune_heads.runs import Study
from prune_heads.studies.pruning import chosen, counted, going_together, prune
from prune_heads.studies.reading import read_scores
from prune_heads.studies.scoring import Found
from prune_heads.studies.setup import identify, load_split, load_subject
from prune_heads.surgery import removed_heads
from prune_heads.tasks.task import Split

SIDES = ("original", "masked", "removed")
Sides = Mapping[str, tuple[PreTrainedModel, HeadMask | None]]  # name -> model, and the heads that gates close in it
_SHORTEST_SECONDS = 0.05  # what a side takes in a run, at least; a clock and a scheduler are a thousand times finer


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


# long: one study from its options to its record, a stage a paragraph
def bench(setup: Setup, choice: Choice, options: Bench, reporter: Reporter) -> Found:
    """How fast the model is without some heads, on validation texts; those that it has lost before always go.

    Examples per second of each side, ratios to the original in each run, and the ceiling of each gain. The record has
    parameters (before, pruned), length, shortest_seconds, and rows, one a kind of lengths and batch size: lengths,
    batch_size, n_examples of a pass, n_tokens (of an example, padding included, the mean), n_passes inside a run,
    examples_per_second {side: mean, deviation, each}, ratio {side: median, each}, ceiling (None if not known).

    Raises:
        DataError: If there are fewer examples than a batch has, or the length is more than the model takes.
        HeadDescriptorError: If no head is to go, so that there is nothing to compare.
        OptionError: If heads are named and chosen by scores.
        UnfitError: If the task is not of texts.
        PruneHeadsError: If the heads cannot be removed, masks are not applied, or the sides give different logits.
    """
    if options.scores is not None and choice.heads is not None:
        raise OptionError("--scores and --heads exclude each other")
    study, subject = Study("bench", reporter), load_subject(setup, reporter)
    split = load_split(setup, subject, subject.task.spec.eval_splits[0], reporter)
    gone, original = removed_heads(subject.model), original_of(subject)
    together = going_together(original, choice, "remove", reporter)
    drawn = HeadScores.from_flat(np.random.default_rng(options.seed).random(gone.n_total), gone.n_heads)
    by = read_scores(options.scores, gone.n_heads) if options.scores else drawn
    mask = chosen(choice, gone, by, together)
    if not mask:
        must = "some heads must go, or there is nothing to compare; got none"
        raise HeadDescriptorError(f"{must}. Name them by --heads, or a larger --fraction")
    sizes = options.sizes(len(split))
    settled = {"heads": mask.descriptors(), "batch_sizes": list(sizes)}
    study.begin(setup, choice, options, settled, **identify(subject, [split]))
    if subject.objective.head.reads != "text":
        must = f"bench must be given texts, which it times by their tokens; got {subject.objective.name}"
        raise UnfitError(f"{must}. 'prune-heads info' counts what removed heads save")
    room = min(n_positions(subject.model), subject.classifier.tokenizer.model_max_length)
    length = options.length or min(128, room)  # what the paper pads its texts to
    if length > room:
        raise DataError(f"--length must be at most what the model takes, {room} tokens; got {length}")
    if max(sizes) > len(split):
        most = f"the number of examples, {len(split)} of {split.name}"
        raise DataError(f"--batch-sizes must be at most {most}; got {max(sizes)}")
    removed = subject.classifier.model
    parameters = prune(removed, mask, "remove", subject.classifier.probe_inputs())
    if note := about_ceilings(original, mask):
        reporter.note(note)
    sides = {"original": (original, None), "masked": (original, mask), "removed": (removed, None)}
    races = list(_races(subject, split, length, sizes))
    rows, total = [], len(SIDES) * options.runs * sum(race.n_examples for race in races)
    with reporter.stage("bench", total) as progress:
        for race in races:
            rows.append({**timed(sides, race, options.runs, progress), "ceiling": ceiling(original, mask, race)})
            _note_above(rows[-1], reporter)
    study.lap("bench")
    about = {"task": subject.task.spec.name, "mode": "remove", **counted(mask), "parameters": parameters}
    about |= {"length": length, "shortest_seconds": _SHORTEST_SECONDS, "rows": rows}
    return Found(study.record(subject.device, **about), mask=mask)


def _races(subject: Subject, split: Split, length: int, sizes: Sequence[int]) -> Iterator[Race]:
    """Of fixed length one batch, since all cost the same; of real lengths the same examples for all batch sizes."""
    fixed, batches = replace(subject, max_length=length).batches(split), subject.batches(split)
    for size in sizes:
        yield Race("fixed", size, [fixed.batch(np.arange(size), pad_to=length).to(subject.device).inputs])
    for size in sizes:
        index = (np.arange(start, start + size) for start in range(0, max(sizes) - size + 1, size))
        yield Race("real", size, [batches.batch(i).to(subject.device).inputs for i in index])


def timed(sides: Sides, race: Race, n_runs: int, progress: Progress) -> dict[str, Any]:
    """One row, but for the ceiling; ratios are to the first side."""
    names = tuple(sides)
    warm = {name: [_seconds(sides, race, name, 1) for _ in range(2)] for name in names}
    n_passes = max(1, math.ceil(_SHORTEST_SECONDS / min(last for _, last in warm.values())))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for run in range(n_runs):
        turn = run % len(names)
        for name in (*names[turn:], *names[:turn]):
            seconds[name].append(_seconds(sides, race, name, n_passes))
            progress(race.n_examples)
    ratios = {name: [a / b for a, b in zip(seconds[names[0]], seconds[name], strict=True)] for name in names[1:]}
    speeds = {name: [race.n_examples * n_passes / s for s in seconds[name]] for name in names}
    per_second = {name: {"mean": fmean(each), "deviation": stdev(each), "each": each} for name, each in speeds.items()}
    about: dict[str, Any] = {name: getattr(race, name) for name in ("lengths", "batch_size", "n_examples")}
    about |= {"n_tokens": fmean(race.n_tokens), "n_passes": n_passes, "examples_per_second": per_second}
    return {**about, "ratio": {name: {"median": median(each), "each": each} for name, each in ratios.items()}}


@torch.inference_mode()
def _seconds(sides: Sides, race: Race, name: str, n_passes: int) -> float:
    """What a side takes for so many passes over the batches of a race."""
    model, mask = sides[name]
    # An accelerator computes while Python goes on.
    synchronize = torch.get_device_module(race.inputs[0]["input_ids"].device).synchronize
    with gated(model, gates_of(model, mask)) if mask else nullcontext():
        synchronize()
        start = time.perf_counter()
        for _ in range(n_passes):
            for inputs in race.inputs:
                model(**inputs)
        synchronize()
        return time.perf_counter() - start


def ceiling(original: PreTrainedModel, mask: HeadMask, race: Race) -> float | None:
    """Multiply-adds of the original over those of the removed model, all batches together; None where not known."""
    if head.objective_of(original.config, type(original).__name__) is not None:
        return None
    before = after = 0
    for n_tokens, n_batches in Counter(race.n_tokens).items():
        counts = budget(original, mask, n_tokens)["multiply_adds"]
        if counts["before"] is None:
            return None
        before += n_batches * counts["before"]["total"]
        after += n_batches * counts["after"]["total"]
    return before / after


def about_ceilings(original: PreTrainedModel, mask: HeadMask) -> str:
    """Why there are none, or what they leave out; empty where they are exact."""
    if head.objective_of(original.config, type(original).__name__) is not None:
        return "no ceilings: bench gives them for classifiers; prune-heads info counts a language model"
    notes = budget(original, mask)["notes"]
    return next((f"ceilings: {note}" for note in notes if note.startswith("multiply-adds")), "")


def _note_above(row: Mapping[str, Any], reporter: Reporter) -> None:
    """By every run, since the median of a few is above a close ceiling half of the time."""
    lowest, most = min(row["ratio"]["removed"]["each"]), row["ceiling"]
    if most is not None and lowest > most:
        gain = f"removed heads gain more than their multiply-adds ({lowest:.2f}x at least, ceiling {most:.2f}x)"
        of = f"{row['lengths']} lengths, batch {row['batch_size']}"
        reporter.note(f"{of}: {gain}: what is no multiply-add, such as a softmax, goes too")
