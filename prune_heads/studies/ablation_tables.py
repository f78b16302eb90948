"""Tables of ablations: differences with their tests, and for `only-one` the best head of each layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from prune_heads.descriptors import Head
from prune_heads.heads import NUMBERING
from prune_heads.statistics import N_RESAMPLES, PairedTest, benjamini_hochberg, compare_paired, holm
from prune_heads.studies.measuring import Measured

ALPHA = 0.01
"""The paper's level of significance."""

Cells = list[list[float | None]]
"""One row a block; None for a head that is not there or was not asked about."""


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
