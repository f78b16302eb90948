"""What `prune-heads reproduce` may have to run for a table or figure: one function a study."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from prune_heads.errors import HeadDescriptorError, UnfitError
from prune_heads.options import Ablation, Bench, Choice, Conditions, Curves, Setup
from prune_heads.progress import Reporter
from prune_heads.studies.ablating import ablate
from prune_heads.studies.curves import curves
from prune_heads.studies.estimators import compare_estimators
from prune_heads.studies.steps import time_heads
from prune_heads.tasks.spec import TASKS, TaskSpec
from prune_heads.tasks.task import load_task

Record = dict[str, Any]


def _without_one(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    return ablate(setup, Ablation("without-one", seed=asked.seed), reporter)


def _only_one(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    """Of a translation, heads are chosen on the first split, and measured there and on the last: tables 2 and 5."""
    options = Ablation("only-one", seed=asked.seed, choose_examples=asked.choose_examples)
    spec = spec_of(setup)
    if spec.kind == "translation":
        splits = splits_of("only-one", spec)
        options = replace(options, split=splits, choose_split=splits[0], choose_examples=0)
    return ablate(setup, options, reporter)


def _curve(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    return curves(setup, _curves(setup, asked, "gradient"), reporter)


def _orders(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    return curves(setup, _curves(setup, asked, *asked.criterion), reporter)


def _curve_of(kind: str) -> Callable[[Setup, Conditions, Reporter], Record]:
    """Of the heads of one kind of block, by its letter."""

    def study(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
        options = replace(_curves(setup, asked, "gradient"), blocks=(kind,))
        try:
            return curves(setup, options, reporter)
        except HeadDescriptorError as error:  # raised before the long work
            raise UnfitError(
                f"the curve of one kind of attention must be of an encoder-decoder, which has blocks E, A and D; "
                f"got {setup.model}: {error}"
            ) from error

    return study


def _curves(setup: Setup, asked: Conditions, *criteria: str) -> Curves:
    """On the first split of the task's own."""
    spec = TASKS.get(setup.task)
    return Curves(
        criteria,
        seed=asked.seed,
        score_examples=asked.score_examples,
        steps=asked.steps,
        split=() if spec is None else spec.eval_splits[:1],
    )


def _bench(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    half = Choice(0.5)
    return time_heads(setup, half, Bench(runs=asked.runs, seed=asked.seed), reporter).record


def _estimators(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    return compare_estimators(setup, asked, reporter)


STUDIES: Mapping[str, Callable[[Setup, Conditions, Reporter], Record]] = {
    "without-one": _without_one,
    "only-one": _only_one,
    "curve": _curve,
    "orders": _orders,
    "curve-E": _curve_of("E"),
    "curve-A": _curve_of("A"),
    "curve-D": _curve_of("D"),
    "bench": _bench,
    "estimators": _estimators,
}
"""What a reproduction may need; keys of `Reproduction.studies`."""

TIMED = frozenset({"bench"})
"""Studies that must have the machine for themselves."""


def spec_of(setup: Setup) -> TaskSpec:
    """The task, without its data."""
    return load_task(setup.task, data_dir=setup.data_dir, own=setup.own).spec


def splits_of(study: str, spec: TaskSpec) -> tuple[str, ...]:
    """Where a study measures."""
    if study == "only-one" and spec.kind == "translation":
        every = (*spec.eval_splits, *spec.more_splits)
        return tuple(dict.fromkeys((every[0], every[-1])))
    return spec.eval_splits
