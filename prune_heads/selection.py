"""From scores to masks: which heads go first."""

from collections.abc import Sequence

import numpy as np

from prune_heads.descriptors import Head
from prune_heads.errors import HeadDescriptorError
from prune_heads.heads import HeadMask, HeadScores


def count_for_fraction(n_total: int, fraction: float) -> int:
    """How many of `n_total` heads are `fraction` of them: the authors' `int(144 * p / 100)`, rounded down.

    A ValueError if the fraction is not between 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of heads must be between 0 and 1; got {fraction}")
    percent = round(fraction * 100, 9)  # 0.29 * 100 is 28.999..., which would lose a head
    return int(round(n_total * percent / 100, 9))


def check_count(n_pruned: int, gone: HeadMask, min_per_layer: int = 0) -> None:
    """Refuse a number of heads that cannot be pruned, before there are scores.

    `n_pruned` counts those that the model has lost before, `gone`; every layer keeps `min_per_layer` heads, if it has
    so many left. The `HeadDescriptorError` says how many can be pruned.
    """
    most = _most(gone, min_per_layer)
    if not len(gone) <= n_pruned <= most:
        kept = f" with {min_per_layer} kept in every layer" if min_per_layer else ""
        can = f"between {len(gone)} and {most} of {gone.n_total} heads can be pruned{kept}"
        raise HeadDescriptorError(f"{can}; got {n_pruned}")


def select(
    scores: HeadScores,
    n_pruned: int,
    *,
    min_per_layer: int = 0,
    gone: HeadMask | None = None,
    units: Sequence[frozenset[Head]] | None = None,
) -> HeadMask:
    """Prune the `n_pruned` heads of lowest score; ties go in order of layer and head.

    Args:
        scores: Higher = more important.
        n_pruned: How many heads to prune.
        min_per_layer: In every block the best heads, this many, are spared.
        gone: Heads that count as gone beside those that the scores know of; part of the mask and of its count.
        units: Heads that go together, by their mean score, as long as no more than `n_pruned` go; None: each alone.

    Raises:
        HeadDescriptorError: If so many heads cannot be pruned, or `gone` is of another model.
        NotFiniteError: If a score is NaN or infinite, since it has no place in the order.
    """
    scores.check_finite("scores")
    gone = scores.gone if gone is None else gone | scores.gone
    check_count(n_pruned, gone, min_per_layer)
    left = np.array([keep.sum() for keep in gone.keep()], dtype=int)
    least = np.minimum(left, min_per_layer)
    pruned = set(gone)

    def rank(unit: frozenset[Head]) -> tuple[float, Head]:
        return float(np.mean([scores.values[block][head] for block, head in sorted(unit)])), min(unit)

    there = (unit - gone.pruned for unit in (alone(~gone) if units is None else units))
    for unit in sorted(filter(None, there), key=rank):
        if len(pruned) + len(unit) > n_pruned:
            break
        fewer = left - np.bincount([block for block, _ in unit], minlength=len(left))
        if (fewer >= least).all():
            pruned |= unit
            left = fewer
    return HeadMask(gone.n_heads, frozenset(pruned))


def alone(heads: HeadMask) -> list[frozenset[Head]]:
    """These heads as units of one."""
    return [frozenset([head]) for head in heads]


def step_counts(gone: HeadMask, n_steps: int, among: HeadMask | None = None) -> list[int]:
    """How many heads are pruned at 0, 1, ..., `n_steps` n-ths of all; those that are `gone` are so from the start.

    `among` are the heads that may go, of which the n-ths are then; None: all. What is gone beside them counts too.
    """
    among = HeadMask.all(gone.n_heads) if among is None else among
    beside, lost = len(gone - among), len(gone & among)
    return [beside + max(lost, count_for_fraction(len(among), step / n_steps)) for step in range(n_steps + 1)]


def lowest_first(
    scores: HeadScores,
    gone: HeadMask,
    n_steps: int,
    *,
    min_per_layer: int = 0,
    units: Sequence[frozenset[Head]] | None = None,
    among: HeadMask | None = None,
) -> list[HeadMask]:
    """The masks of a pruning curve, lowest score first, at `step_counts`; it ends where no more may go.

    A `NotFiniteError` if a score is NaN or infinite.
    """
    gone = gone | scores.gone
    counts = [n for n in step_counts(gone, n_steps, among) if n <= _most(gone, min_per_layer)]
    if units is None and among is not None:
        units = alone(among)
    return [select(scores, n, min_per_layer=min_per_layer, gone=gone, units=units) for n in counts]


def _most(gone: HeadMask, min_per_layer: int) -> int:
    """Heads that can be pruned, those that are gone included."""
    return gone.n_total - sum(min(min_per_layer, int(keep.sum())) for keep in gone.keep())
