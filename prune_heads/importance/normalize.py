"""Normalisation of scores: a function of its own, applied to the scores of any criterion.

Standard errors are scaled as the scores are, taking the norm itself as exact.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from prune_heads.heads import HeadScores


class Normalizer(NamedTuple):
    """One row of the table."""

    apply: Callable[[HeadScores], HeadScores]
    summary: str


def l2(scores: HeadScores) -> HeadScores:
    """Each layer divided by its l2 norm plus 1e-20, as the authors do (paper, section 4.1)."""
    norms = [np.sqrt(np.square(row).sum()) + 1e-20 for row in scores.values]
    errors = scores.standard_error
    return replace(
        scores,
        values=tuple(row / norm for row, norm in zip(scores.values, norms, strict=True)),
        standard_error=errors and tuple(row / norm for row, norm in zip(errors, norms, strict=True)),
    )


def min_max(scores: HeadScores) -> HeadScores:
    """All heads that are there mapped to 0 (least) to 1 (most important); equal scores all become 0."""
    there = scores.gone.keep()
    flat = scores.flat()[np.concatenate([*there, np.zeros(0, dtype=bool)])]
    low, high = flat.min(initial=np.inf), flat.max(initial=-np.inf)
    span = high - low if high > low else 1.0
    values = tuple((row - low) * keep / span for row, keep in zip(scores.values, there, strict=True))
    errors = scores.standard_error
    return replace(scores, values=values, standard_error=errors and tuple(row / span for row in errors))


NORMALIZERS: Mapping[str, Normalizer] = {
    "none": Normalizer(lambda scores: scores, "as they are"),
    "l2": Normalizer(l2, "each layer divided by its l2 norm (paper, section 4.1)"),
    "min-max": Normalizer(min_max, "all heads together from 0 to 1"),
}
"""`--normalize` -> function."""
