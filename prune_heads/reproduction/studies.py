"""What `prune-heads reproduce` may have to run for a table or figure: one function a study."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from prune_heads.errors import HeadDescriptorError, UnfitError
from prune_heads.objectives import TASKS, TaskSpec
from prune_heads.options import Ablation, Bench, Choice, Conditions, Curves, Setup
from prune_heads.options.choices import Kind
from prune_heads.progress import Reporter
from prune_heads.studies.ablating import ablate
from prune_heads.studies.curves import compare_estimators, curves
from prune_heads.studies.steps import time_heads
from prune_heads.tasks.task import load_task

Record = dict[str, Any]


def _ablations(kind: Kind, setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    """Of a translation, heads are chosen on the first split, and measured there and on the last: tables 2 and 5."""
    options = Ablation(kind, seed=asked.seed)
    if kind == "only-one":
        spec = spec_of(setup)
        splits = splits_of(kind, spec)
        chosen_here = {"split": splits, "choose_split": splits[0], "choose_examples": 0}
        is_chosen_here = spec.kind == "translation"
        options = replace(options, **(chosen_here if is_chosen_here else {"choose_examples": asked.choose_examples}))
    return ablate(setup, options, reporter)


def _curves(*criteria: str, blocks: tuple[str, ...] | None = None) -> Callable[[Setup, Conditions, Reporter], Record]:
    """On the task's first split, by these criteria, or those that are asked for; of all heads, or those of blocks."""

    def study(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
        split = TASKS[setup.task].eval_splits[:1] if setup.task in TASKS else ()
        options = Curves(criteria or asked.criterion, seed=asked.seed, steps=asked.steps, split=split, blocks=blocks)
        try:
            return curves(setup, replace(options, score_examples=asked.score_examples), reporter)
        except HeadDescriptorError as error:  # raised before the long work
            if blocks is None:
                raise
            raise UnfitError(
                f"the curve of one kind of attention must be of an encoder-decoder, which has blocks E, A and D; got "
                f"{setup.model}: {error}"
            ) from error

    return study


def _bench(setup: Setup, asked: Conditions, reporter: Reporter) -> Record:
    return time_heads(setup, Choice(0.5), Bench(runs=asked.runs, seed=asked.seed), reporter).record


STUDIES: Mapping[str, Callable[[Setup, Conditions, Reporter], Record]] = {
    "without-one": partial(_ablations, "without-one"),
    "only-one": partial(_ablations, "only-one"),
    "curve": _curves("gradient"),
    "orders": _curves(),
    **{f"curve-{kind}": _curves("gradient", blocks=(kind,)) for kind in "EAD"},
    "bench": _bench,
    "estimators": compare_estimators,
}
"""What a reproduction may need; keys of `Reproduction.studies`."""


def spec_of(setup: Setup) -> TaskSpec:
    """The task, without its data."""
    return load_task(setup.task, data_dir=setup.data_dir, own=setup.own).spec


def splits_of(study: str, spec: TaskSpec) -> tuple[str, ...]:
    """Where a study measures."""
    if study == "only-one" and spec.kind == "translation":
        every = (*spec.eval_splits, *spec.more_splits)
        return tuple(dict.fromkeys((every[0], every[-1])))
    return spec.eval_splits
