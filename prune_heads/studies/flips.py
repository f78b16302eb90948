"""What a reduced precision costs: predictions that are not those of float32."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from prune_heads.ablation import predict_masks
from prune_heads.heads import HeadMask
from prune_heads.objectives.base import Kept, Objective
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.studies.setup import load_subject, predictions_of

FLIP_SAMPLE = 64
"""Examples, the first of the split, on which the two are compared."""


def count_flips(
    setup: Setup,
    split: str,
    found: Mapping[HeadMask, Kept],
    reporter: Reporter,
    *,
    memory: int | None = None,
) -> dict[str, Any]:
    """How many predictions of the first examples differ from those of float32.

    Args:
        setup: In the reduced precision; of an objective that `chooses`.
        split: Its name.
        found: What is kept in the reduced precision, under each mask.
        reporter: Told about stages and notes.
        memory: MiB of activations a pass; None for the device's default.

    Returns:
        `{"dtype", "split", "n_examples", "n_masks", "n_predictions", "n_flipped"}`.

    Raises:
        PruneHeadsError: See `predict_masks`.
    """
    n = min(FLIP_SAMPLE, *map(len, found.values()))
    exact = replace(setup, dtype="float32")
    subject = load_subject(exact, reporter)
    sample = predictions_of(exact, subject, subject.task.load(split, n), reporter)
    wanted = predict_masks(sample, list(found), memory=memory)
    return {
        "dtype": setup.dtype,
        "split": split,
        "n_examples": n,
        "n_masks": len(found),
        "n_predictions": n * len(found),
        "n_flipped": sum(
            n_flipped(subject.objective, kept[:n], wanted[mask]) for mask, kept in found.items()
        ),
    }


def n_flipped(objective: Objective, first: Kept, second: Kept) -> int:
    """Examples of which two that are kept predict something else."""
    differs = objective.predictions(first) != objective.predictions(second)
    return int(np.sum(differs if differs.ndim == 1 else differs.any(axis=1)))
