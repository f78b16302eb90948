"""The long part of a study, done beforehand by the workers of a cluster; the study then finds it done.

Gradients are of whole batches, the very ones of one process, so that they are its numbers. Masks are independent, and
what is predicted under them goes into the store.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from prune_heads.ablation import predict_masks
from prune_heads.errors import RunError
from prune_heads.execution.cluster import Shards, connected
from prune_heads.heads import HeadMask
from prune_heads.importance import GateGradients, gradient, model_without
from prune_heads.objectives.batches import Side
from prune_heads.objectives.replacing import Replacement
from prune_heads.options import Cluster, Setup, options_of
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionKey
from prune_heads.studies.setup import load_subject, predictions_of
from prune_heads.tasks.task import Split

_PARTS_A_WORKER = 4  # of the batches: the last worker keeps the others waiting for a quarter of its share at most


_Asked = tuple[Predictions, Iterable[HeadMask]]


class _Part(NamedTuple):
    """Something to do on one split."""

    split: int  # place of the split, from 0
    do: Callable[[Predictions], Any]  # importable by name, as are its arguments
    n_examples: int  # for the progress


@contextmanager
def spread_over(setup: Setup, cluster: Cluster, reporter: Reporter) -> Iterator["Spread | None"]:
    """Join a cluster for the time of a block; None for this process. Comes first: a cluster may be out of reach."""
    if cluster.shards is None:
        yield None
        return
    if setup.dtype == "mixed":  # a cluster does what takes long of it
        setup = replace(setup, dtype="bfloat16")
    with connected(cluster.address) as ray:
        yield Spread(setup, Shards(ray, cluster.shards), reporter)


@dataclass(frozen=True)
class Spread:
    """What a study asks of a cluster."""

    setup: Setup
    shards: Shards
    reporter: Reporter

    def gradients(self, examples: Predictions, masked: HeadMask | None = None) -> GateGradients:
        """As `gate_gradients`, with its very batches; errors as of `Shards.run`."""
        batches = examples.batches
        steps = np.array_split(np.arange(len(batches)), min(len(batches), _PARTS_A_WORKER * self.shards.n))
        size, n = batches.batch_size, batches.n_examples
        parts = []
        for each in steps:
            do = partial(_rows, steps=each.tolist(), masked=masked, size=size, side=batches.side)
            parts.append(_Part(0, do, min(n, (int(each[-1]) + 1) * size) - int(each[0]) * size))
        found = self._run("scoring", [examples], parts)
        return gradient.in_file_order((row for rows in found for row in rows), examples.subject.model, batches)

    def answers(self, asked: Sequence[_Asked], *, memory: int | None = None, compiled: bool = False) -> None:
        """See to it that the store has the predictions under these masks, of each split; errors as of `gradients`.

        Args:
            asked: Splits, each with its masks.
            memory: MiB of activations a pass, of each worker.
            compiled: Compile the layers first.
        """
        parts, asked = [], [(each if each.lower is None else each.lower(), masks) for each, masks in asked]
        with ExitStack() as held:
            for place, (examples, masks) in enumerate(asked):
                held.enter_context(examples.unchanged())
                missing = [mask for mask in dict.fromkeys(masks) if examples.stored(mask) is None]
                # In turn: masks of one layer cost the same and share the layers below it, in whichever worker.
                for i in range(min(self.shards.n, len(missing))):
                    mine = missing[i :: self.shards.n]
                    do = partial(predict_masks, masks=mine, memory=memory, compiled=compiled)
                    parts.append(_Part(place, do, len(mine) * examples.tokens.n_examples))
            found = self._run("masks", [examples for examples, _ in asked], parts) if parts else []
            for part, logits in zip(parts, found, strict=True):
                examples = asked[part.split][0]
                for mask, each in logits.items():
                    if examples.stored(mask) is None:  # a store that the workers keep elsewhere
                        examples.keep(mask, each)

    def _run(self, stage: str, every: Sequence[Predictions], parts: Sequence[_Part]) -> list[Any]:
        keys = tuple(each.key(each.gone) for each in every)
        there: dict[str, Any] = {  # the same options, with paths that hold in another folder
            name: type(value)(option.placed(str(value), Path.cwd()))
            for name, option in options_of(Setup).items()
            if isinstance(value := getattr(self.setup, name), str | Path)
        }
        setup = replace(self.setup, **{**there, "store": every[0].store.objects.place})
        begin = _Begin(setup, tuple(each.split for each in every), keys, every[0].replacement)
        with self.reporter.stage(stage, sum(part.n_examples for part in parts)) as progress:
            on_gpus = self.setup.device != "cpu"
            found = self.shards.run(begin, parts, lambda part, _: progress(part.n_examples), gpus=on_gpus)
        for _, notes, device in found:
            elsewhere = [] if device == every[0].subject.device.type else [f"{stage}: computed on {device}"]
            self.reporter.note(*notes, *elsewhere)
        return [value for value, _, _ in found]


@dataclass(frozen=True)
class _Begin:
    """Loads in a worker the one model that its parts need."""

    setup: Setup
    splits: tuple[Split, ...]
    keys: tuple[PredictionKey, ...]  # what the one who asks calls the predictions of each split without a mask
    replacement: Replacement | None = None

    def __call__(self, threads: int, number: int) -> Callable[[_Part], tuple[Any, list[str], str]]:
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray's; a small model takes one thread, as it does alone
        torch.set_num_threads(threads)
        reporter = Reporter()
        subject = load_subject(self.setup, reporter)
        every = [predictions_of(self.setup, subject, each, reporter, self.replacement) for each in self.splits]
        same = set[int]()

        def do(part: _Part) -> tuple[Any, list[str], str]:
            """What was found, the notes, and the type of the device."""
            predictions = every[part.split]
            if part.split not in same and predictions.key(predictions.gone) != self.keys[part.split]:
                # A folder or a name may stand for something else on another node.
                must = f"every node must load the same model and tokenizer; one has others as {subject.classifier.name}"
                raise RunError(f"{must}. Put them on a file system that all nodes share")
            same.add(part.split)
            reporter.notes.clear()
            return part.do(predictions), list(reporter.notes), subject.device.type

        return do


def _rows(
    predictions: Predictions, *, steps: list[int], masked: HeadMask | None, size: int, side: Side
) -> list[gradient.BatchRows]:
    """The batches of the one who asks, whatever this device would make."""
    batches = replace(predictions.batches, batch_size=size, side=side)
    return list(gradient.batch_rows(model_without(predictions.subject.model, masked), batches, steps))
