"""Every head of some layers masked on its own, on one split, and the table of it: differences with their tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prune_heads.ablation import ablations, predict_masks
from prune_heads.descriptors import Head, named_blocks
from prune_heads.errors import DataError, HeadDescriptorError
from prune_heads.heads import NUMBERING, HeadMask
from prune_heads.objectives.base import Kept
from prune_heads.options import Ablation
from prune_heads.predictions import Predictions
from prune_heads.statistics import N_RESAMPLES, PairedTest, benjamini_hochberg, compare_paired, holm

ALPHA = 0.01
"""The paper's level of significance."""

Cells = list[list[float | None]]
"""One row a block; None for a head that is not there or was not asked about."""


@dataclass(frozen=True)
class Measured:
    """The answers of a model on a split without a mask and under each ablation."""

    predictions: Predictions
    kind: str
    base: Kept
    by_head: Mapping[Head, Kept]
    seed: int = 0
    """Of the bootstrap."""

    def by_mask(self) -> dict[HeadMask, Kept]:
        """The same by the masks that were applied."""
        masks = ablations(self.kind, self.predictions.gone)
        return {self.predictions.gone: self.base} | {masks[head]: x for head, x in self.by_head.items()}

    def value(self, kept: Kept) -> float:
        """The headline metric."""
        return self.predictions.metric_of(kept)

    def deltas(self) -> dict[Head, float]:
        """Metric under each ablation minus metric without a mask."""
        base = self.value(self.base)
        return {head: self.value(kept) - base for head, kept in self.by_head.items()}


def measure(predictions: Predictions, options: Ablation) -> Measured:
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
    base = found[predictions.gone]
    by_head = {head: found[mask] for head, mask in masks.items()}
    return Measured(predictions, options.kind, base, by_head, options.seed)


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


def table(found: Measured, chosen: Measured | None = None) -> dict[str, Any]:
    """One split's table: metric and difference of each head, its interval, and p-values before and after correction.

    Args:
        found: The ablations on the split.
        chosen: The same ablations on other examples, by which each layer's best head is picked.
    """
    predictions = found.predictions
    base = found.value(found.base)
    tests = _tests(found)
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


def _tests(found: Measured) -> dict[Head, PairedTest]:
    """Each head's test; the bootstrap is fine enough for the smallest p to survive a correction over all of them."""
    predictions, answers = found.predictions, found.predictions.answers
    base = answers(found.base)
    n_resamples = max(N_RESAMPLES, int(1.5 * len(found.by_head) / ALPHA))
    return {
        head: compare_paired(
            predictions.measure,
            base,
            answers(logits),
            predictions.references,
            seed=found.seed,
            n_resamples=n_resamples,
        )
        for head, logits in found.by_head.items()
    }


def _best(found: Measured, chosen: Measured, tests: Mapping[Head, PairedTest]) -> list[dict[str, Any]]:
    """Each layer's head that is best where it is chosen, and what it is worth here; corrected over the layers."""
    there, here = chosen.deltas(), found.deltas()
    base = chosen.value(chosen.base)
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
