"""Mask each head, or all others of its layer, and measure: the paper's tables 1, 2, 3, 5 and 6, and its figure 2."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.ablation import ablations, predict_masks
from prune_heads.errors import DataError, HeadDescriptorError
from prune_heads.evaluation import Logits, warn_if_below_majority
from prune_heads.heads import NUMBERING, Head, HeadMask
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import record_of
from prune_heads.statistics import benjamini_hochberg, compare_paired, correlate, holm, why_undefined
from prune_heads.studies.clock import Clock
from prune_heads.studies.flips import count_flips
from prune_heads.studies.setup import Setup, identify, identify_split

ALPHA = 0.01
"""The paper's level of significance."""

Cells = list[list[float | None]]
"""One row a block; None for a head that is not there or was not asked about."""


@dataclass(frozen=True)
class Ablation:
    """What `prune-heads ablate` was asked for beside model and task."""

    kind: str = "without-one"
    blocks: tuple[int, ...] | None = None
    """Attention blocks, from 0; None for all."""
    splits: tuple[str, ...] = ()
    """Splits to measure on; none stands for the task's own."""
    choose_split: str | None = None
    """Where `only-one` picks each layer's head; None for the task's split for scoring."""
    choose_examples: int = 5000
    """How many of its examples, drawn at random (paper, table 6)."""
    seed: int = 0
    memory: int | None = None
    """MiB of activations a pass; None for the device's default."""
    compiled: bool = False
    """Compile the layers first."""

    def configuration(self) -> dict[str, Any]:
        """For records: what can change a result."""
        chooses = self.kind == "only-one"
        return {
            "kind": self.kind,
            "blocks": None if self.blocks is None else [block + 1 for block in self.blocks],
            "splits": list(self.splits) or None,
            "choose_split": self.choose_split if chooses else None,
            "choose_examples": self.choose_examples if chooses else None,
            "seed": self.seed,
            "memory": self.memory,
            "compile": self.compiled,
        }


@dataclass(frozen=True)
class Measured:
    """The answers of a model on a split without a mask and under each ablation."""

    predictions: Predictions
    kind: str
    base: Logits
    by_head: Mapping[Head, Logits]

    def by_mask(self) -> dict[HeadMask, Logits]:
        """The same by the masks that were applied."""
        masks = ablations(self.kind, self.predictions.gone)
        return {self.predictions.gone: self.base} | {masks[head]: x for head, x in self.by_head.items()}

    def value(self, logits: Logits) -> float:
        """The headline metric."""
        return self.predictions.subject.metrics(logits, self.predictions.split)[self.predictions.metric]

    def deltas(self) -> dict[Head, float]:
        """Metric under each ablation minus metric without a mask."""
        base = self.value(self.base)
        return {head: self.value(logits) - base for head, logits in self.by_head.items()}


def measure(predictions: Predictions, options: Ablation) -> Measured:
    """The ablations of one kind on one split.

    Raises:
        DataError: If the metric is undefined on the split.
        HeadDescriptorError: If a block is not there, or no head is left in them.
        PruneHeadsError: If masks are not applied, logits are not finite, or the store cannot be written.
    """
    check_defined(predictions)
    n_blocks = len(predictions.gone.n_heads)
    if wrong := [block + 1 for block in options.blocks or () if not 0 <= block < n_blocks]:
        raise HeadDescriptorError(f"--blocks must be between 1 and {n_blocks} for this model; got {wrong[0]}")
    masks = ablations(options.kind, predictions.gone, options.blocks)
    if not masks:
        raise HeadDescriptorError(
            "the layers asked for must have heads left to mask; all of theirs were removed before. Name others with "
            "--blocks, or take a checkpoint that has heads"
        )
    wanted = [predictions.gone, *masks.values()]
    found = predict_masks(predictions, wanted, memory=options.memory, compiled=options.compiled)
    base = found[predictions.gone]
    return Measured(predictions, options.kind, base, {head: found[mask] for head, mask in masks.items()})


def check_defined(predictions: Predictions) -> None:
    """Refuse a split on which the headline metric says nothing, before any work.

    Raises:
        DataError: Saying why, e.g. that all its labels are alike.
    """
    if reason := why_undefined(predictions.metric, predictions.references):
        raise DataError(
            f"{predictions.metric} must be defined on {predictions.split.name} "
            f"({len(predictions.references)} examples): {reason}. Take another split, or more examples"
        )


def ablate(
    setup: Setup,
    options: Ablation,
    reporter: Reporter,
    *,
    admit: Callable[[dict[str, Any]], None] = lambda identity: None,
) -> dict[str, Any]:
    """The record of `prune-heads ablate`: a table a split, their correlations, and for `only-one` the best heads.

    Args:
        setup: Model, task, conditions and store.
        options: Which ablations, where.
        reporter: Told about stages and notes.
        admit: Called with the run's identity before the long work; it may refuse by raising.

    Raises:
        PruneHeadsError: See `measure`.
    """
    clock = Clock()
    subject = setup.load(reporter)
    splits = [
        setup.load_split(subject, name, reporter) for name in options.splits or subject.task.spec.eval_splits
    ]
    chosen_on = None
    if options.kind == "only-one":
        name = options.choose_split or subject.task.spec.score_split
        chosen_on = subject.task.load(name, options.choose_examples, seed=options.seed)
    identity = {
        "configuration": {**setup.configuration(), **options.configuration()},
        **identify(subject, splits),
        "chosen_on": None if chosen_on is None else identify_split(chosen_on),
    }
    admit(identity)
    every = [setup.predictions(subject, split, reporter) for split in splits]
    choosing = None if chosen_on is None else setup.predictions(subject, chosen_on, reporter)
    for each in (*every, *([] if choosing is None else [choosing])):
        check_defined(each)
    clock.lap("load")

    chosen = None if choosing is None else measure(choosing, options)
    found = []
    for each in every:
        found.append(measure(each, options))
        warn_if_below_majority(subject, each.split, found[-1].base, reporter)
    clock.lap("ablate")
    tables = [table(each, options.seed, chosen) for each in found]
    correlations = [
        {
            "first": a["split"],
            "second": b["split"],
            **correlate(_flat(a["delta"]), _flat(b["delta"])).to_json(),
        }
        for a, b in combinations(tables, 2)
    ]
    clock.lap("statistics")
    flipped = None
    if setup.dtype != "float32":
        first = found[0]
        flipped = count_flips(
            setup, first.predictions.split.name, first.by_mask(), reporter, memory=options.memory
        )
        clock.lap("float32 sample")
    labels = subject.task.spec.labels
    return record_of(
        "ablate",
        identity,
        reporter,
        clock.seconds,
        subject.device,
        task=subject.task.spec.name,
        kind=options.kind,
        headline=every[0].metric,
        labels=None if labels is None else list(labels),
        tables=tables,
        correlations=correlations,
        flips=flipped,
    )


def table(found: Measured, seed: int, chosen: Measured | None = None) -> dict[str, Any]:
    """One split's table: metric and difference of each head, its interval, and p-values before and after correction.

    Args:
        found: The ablations on the split.
        seed: Of the bootstrap.
        chosen: The same ablations on other examples, by which each layer's best head is picked.
    """
    predictions = found.predictions
    base = found.value(found.base)
    tests = {head: _test(found, logits, seed) for head, logits in found.by_head.items()}
    shape = predictions.gone.n_heads

    def cells(of: Mapping[Head, float]) -> Cells:
        return [[of.get((block, head)) for head in range(n)] for block, n in enumerate(shape)]

    p_values = {head: test.p_value for head, test in tests.items()}
    p = np.asarray(list(p_values.values()))
    best = None if chosen is None else _best(found, chosen, tests)
    return {
        "split": predictions.split.name,
        "kind": found.kind,
        "metric": predictions.metric,
        "base": base,
        "n_examples": len(predictions.references),
        "numbering": NUMBERING,
        "blocks": [block.describe() for block in predictions.subject.blocks],
        "value": cells({head: found.value(logits) for head, logits in found.by_head.items()}),
        "delta": cells(found.deltas()),
        "low": cells({head: test.low for head, test in tests.items()}),
        "high": cells({head: test.high for head, test in tests.items()}),
        "p_value": cells(p_values),
        "p_adjusted": {
            "holm": cells(dict(zip(p_values, holm(p).tolist(), strict=True))),
            "bh": cells(dict(zip(p_values, benjamini_hochberg(p).tolist(), strict=True))),
        },
        "test": next(iter(tests.values())).test,
        "alpha": ALPHA,
        "best": best,
    }


def _test(found: Measured, logits: Logits, seed: int) -> Any:
    predictions = found.predictions
    answers = predictions.subject.predictions
    return compare_paired(
        predictions.metric, answers(found.base), answers(logits), predictions.references, seed=seed
    )


def _best(found: Measured, chosen: Measured, tests: Mapping[Head, Any]) -> list[dict[str, Any]]:
    """Each layer's head that is best where it is chosen, and what it is worth here; corrected over the layers."""
    there, here = chosen.deltas(), found.deltas()
    base = chosen.value(chosen.base)
    rows = []
    for block in dict.fromkeys(block for block, _ in found.by_head):
        heads = [head for head in found.by_head if head[0] == block]
        pick = max(heads, key=lambda head: there[head])  # the first of equals
        flattering = max(heads, key=lambda head: here[head])
        rows.append(
            {
                "layer": block + 1,
                "head": pick[1] + 1,
                "chosen_on": chosen.predictions.split.name,
                "chosen_examples": len(chosen.predictions.references),
                "chosen_value": base + there[pick],
                "chosen_base": base,
                "delta": here[pick],
                "low": tests[pick].low,
                "high": tests[pick].high,
                "p_value": tests[pick].p_value,
                "best_here": {"head": flattering[1] + 1, "delta": here[flattering]},
            }
        )
    p = np.asarray([row["p_value"] for row in rows])
    for row, by_holm, by_bh in zip(rows, holm(p).tolist(), benjamini_hochberg(p).tolist(), strict=True):
        row |= {"p_holm": by_holm, "p_bh": by_bh}
    return rows


def _flat(rows: Cells) -> NDArray[np.float64]:
    return np.asarray([value for row in rows for value in row], dtype=np.float64)
