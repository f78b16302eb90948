"""Every head of some layers masked on its own, on one split, and the table of it: differences with their tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.ablation import ablations, predict_masks
from prune_heads.descriptors import Head, named_blocks
from prune_heads.errors import DataError, HeadDescriptorError
from prune_heads.heads import NUMBERING, HeadMask
from prune_heads.objectives.base import Kept
from prune_heads.options import Ablation
from prune_heads.predictions import Predictions
from prune_heads.statistics import N_RESAMPLES, PairedTest, benjamini_hochberg, compare_paired, holm, metric_interval

ALPHA = 0.01
"""The paper's level of significance."""

Cells = list[list[float | None]]
"""One row a block; None for a head that is not there or was not asked about."""


class Measured:
    """The answers of a model on a split under masks; what is asked for twice is computed once."""

    def __init__(
        self,
        predictions: Predictions,
        kept: Mapping[HeadMask, Kept],
        seed: int = 0,
        by_head: Mapping[Head, HeadMask] | None = None,
    ) -> None:
        """Of what is kept under each mask, that of no head among them.

        Args:
            predictions: The model on the split.
            kept: What it answers under each mask.
            seed: Of the bootstrap.
            by_head: Of ablations: the mask that asks about each head.
        """
        self.predictions, self.kept, self.seed = predictions, kept, seed
        self.by_head = by_head or {}
        self.split = predictions.split.name
        self._values: dict[HeadMask, float] = {}
        self._intervals: dict[HeadMask, tuple[float, float]] = {}

    def answers(self, mask: HeadMask) -> NDArray[Any]:
        """What is predicted."""
        return self.predictions.answers(self.kept[mask])

    def value(self, mask: HeadMask) -> float:
        """The headline metric."""
        if mask not in self._values:
            self._values[mask] = self.predictions.metric_of(self.kept[mask])
        return self._values[mask]

    def interval(self, mask: HeadMask) -> tuple[float, float]:
        """Its 95% interval, by the bootstrap."""
        if mask not in self._intervals:
            of = self.predictions
            self._intervals[mask] = metric_interval(of.measure, self.answers(mask), of.references, seed=self.seed)
        return self._intervals[mask]

    def deltas(self) -> dict[Head, float]:
        """Metric under each ablation minus metric without a mask."""
        base = self.value(self.predictions.gone)
        return {head: self.value(mask) - base for head, mask in self.by_head.items()}


def ablated(predictions: Predictions, options: Ablation) -> Measured:
    """The ablations of one kind on one split.

    Raises:
        DataError: If the metric is undefined on the split.
        HeadDescriptorError: If a block is not there, or no head is left in them.
        PruneHeadsError: If masks are not applied, logits are not finite, or the store cannot be written.
    """
    check_defined(predictions)
    masks = masks_of(predictions, options)
    wanted = [predictions.gone, *masks.values()]
    found = predict_masks(predictions, wanted, memory=options.memory, compiled=options.compiled)
    return Measured(predictions, found, options.seed, masks)


def masks_of(predictions: Predictions, options: Ablation) -> dict[Head, HeadMask]:
    """The mask that asks about each head, beside that of no head.

    Raises:
        HeadDescriptorError: If a block is not there, or no head is left in them.
    """
    blocks = None if options.blocks is None else named_blocks(options.blocks, predictions.gone.n_heads)
    masks = ablations(options.kind, predictions.gone, blocks)
    if not masks:
        raise HeadDescriptorError(
            "the layers asked for must have heads left to mask; all of theirs were removed before. Name others with "
            "--blocks, or take a checkpoint that has heads"
        )
    return masks


def check_defined(predictions: Predictions) -> None:
    """Refuse a split on which the headline metric says nothing, before any work.

    Raises:
        DataError: Saying why, e.g. that all its labels are alike.
    """
    if reason := predictions.measure.why_undefined(predictions.references):
        shown = f"{predictions.split.name} ({len(predictions.references)} examples)"
        raise DataError(
            f"{predictions.metric} must be defined on {shown}: {reason} (files are often sorted by label: --sample N). "
            "Take another split, or more examples"
        )


def warn_if_below_chance(predictions: Predictions, base: Kept) -> None:
    """A base metric under that of chance most often means that labels are swapped, or tokens are."""
    objective, references, split = predictions.objective, predictions.references, predictions.split.name
    if why := objective.says_little(references):
        predictions.reporter.note(f"{split}: {why}")
        return
    value, chance = predictions.metric_of(base), objective.chance(references)
    if chance is not None and value < chance:
        what, check = objective.below_chance
        predictions.reporter.note(
            f"{split}: the base {predictions.metric} {value:.4f} is below that of {what} ({chance:.4f}): {check}"
        )


def table(kind: str, found: Measured, chosen: Measured | None = None) -> dict[str, Any]:
    """One split's table: metric and difference of each head, its interval, and p-values before and after correction.

    Args:
        kind: Which ablations: key of `prune_heads.ablation.KINDS`.
        found: The ablations on the split.
        chosen: The same ablations on other examples, by which each layer's best head is picked.
    """
    predictions = found.predictions
    tests = _tests(found)
    shape = predictions.gone.n_heads

    def cells(of: Mapping[Head, float]) -> Cells:
        return [[of.get((block, head)) for head in range(n)] for block, n in enumerate(shape)]

    p_values = {head: test.p_value for head, test in tests.items()}
    p = np.asarray(list(p_values.values()))
    best = None if chosen is None else _best(found, chosen, tests)
    return {
        "split": predictions.split.name,
        "kind": kind,
        "metric": predictions.metric,
        "base": found.value(predictions.gone),
        "n_examples": len(predictions.references),
        "numbering": NUMBERING,
        "blocks": [block.describe() for block in predictions.subject.blocks],
        "value": cells({head: found.value(mask) for head, mask in found.by_head.items()}),
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


def _tests(found: Measured) -> dict[Head, PairedTest]:
    """Each head's test; the bootstrap is fine enough for the smallest p to survive a correction over all of them."""
    measure, references = found.predictions.measure, found.predictions.references
    base = found.answers(found.predictions.gone)
    n_resamples = max(N_RESAMPLES, int(1.5 * len(found.by_head) / ALPHA))
    how = {"seed": found.seed, "n_resamples": n_resamples}
    return {
        head: compare_paired(measure, base, found.answers(mask), references, **how)
        for head, mask in found.by_head.items()
    }


def _best(found: Measured, chosen: Measured, tests: Mapping[Head, PairedTest]) -> list[dict[str, Any]]:
    """Each layer's head that is best where it is chosen, and what it is worth here; corrected over the layers."""
    there, here = chosen.deltas(), found.deltas()
    base = chosen.value(chosen.predictions.gone)
    rows = []
    names = found.predictions.gone.n_heads.names()
    for block in dict.fromkeys(block for block, _ in found.by_head):
        heads = [head for head in found.by_head if head[0] == block]
        pick = max(heads, key=lambda head: there[head])  # the first of equals
        flattering = max(heads, key=lambda head: here[head])
        rows.append(
            {
                "layer": int(names[block]) if names[block].isdecimal() else names[block],
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
