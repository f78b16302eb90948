"""Areas under curves for other scoring samples, too: each sample puts the heads in an order of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import UnfitError
from prune_heads.heads import HeadMask
from prune_heads.predictions import Predictions
from prune_heads.statistics import area_under_curve
from prune_heads.statistics.seeds import crossed
from prune_heads.studies.measuring import Measured
from prune_heads.studies.scoring import Lab

USEFUL = 100  # examples of a scoring sample; fewer give orders that say little of that of the whole

Masks = Sequence[HeadMask]  # of an order, one a point


def samples_of(
    examples: Mapping[str, Predictions], lab: Lab, n: int, seed: int
) -> tuple[bool, dict[str, list[Predictions]]]:
    """Scoring samples by criterion: `n` random parts that share no example, and no group of examples.

    Where a part were shorter than `USEFUL`, for any criterion, all are resamples as long as the whole: the first value
    is then False. Criteria that look at the same examples share their samples.

    Raises:
        UnfitError: If there are fewer than two examples or groups to draw.
    """
    every = {name: (whole, whole.groups) for name, whole in examples.items()}
    groups = {name: np.arange(len(each.split)) if of is None else of for name, (each, of) in every.items()}
    for name, (whole, _) in every.items():
        if groups[name].max() < 1:
            must = f"scoring samples need two examples or groups of examples at least; {whole.split.name} has one"
            raise UnfitError(f"{must}. Leave --score-samples out")
    is_disjoint = all(len(of) >= n * USEFUL and of.max() >= n for of in groups.values())

    def drawn(whole: Predictions, of: NDArray[Any]) -> list[Predictions]:
        rng, n_groups = np.random.default_rng(seed), int(of.max()) + 1
        places = rng.permutation(n_groups) if is_disjoint else rng.integers(0, n_groups, n * n_groups)
        counts = (np.bincount(part, minlength=n_groups)[of] for part in np.array_split(places, n))
        return [lab.of(whole.split.at(np.repeat(np.arange(len(of)), each).tolist())) for each in counts]

    return is_disjoint, {name: drawn(whole, groups[name]) for name, whole in examples.items()}


def areas_sampled(
    orders: Mapping[str, Sequence[Masks]],
    samples: Mapping[str, Sequence[Masks]],
    measured: Measured,
    n: int,
    seed: int,
    *,
    is_disjoint: bool,
) -> list[dict[str, Any]]:
    """Areas on a split, and their differences, with 95% intervals for other scoring samples and other examples.

    Of disjoint samples the area is the mean of theirs, whose orders follow from fewer examples than that of the curve.
    Of resamples it is that of the curve, and they give its variance alone, as resampled orders are worse. Draws of
    `random` are dealt out as if they were disjoint samples; a criterion that looks at no data has one order.

    Args:
        orders: Criterion -> masks of its curve, of each draw.
        samples: Criterion that looks at data -> masks of the order by each sample.
        measured: What is answered under all masks.
        n: Samples.
        seed: Of the resamples of examples.
        is_disjoint: See `samples_of`.

    Returns:
        Rows `{"split", "first", "second", "values", "value", "low", "high", ...}`, see `Crossed`; `second` is None for
        the area of `first` itself, else it is first less second.
    """
    predictions = measured.predictions

    @cache
    def area(masks: tuple[HeadMask, ...]) -> NDArray[np.float64]:
        """The area, and after it those on resampled examples."""
        drawn = predictions.resampled([measured.answers(mask) for mask in masks], seed)
        return np.array([area_under_curve([len(mask) for mask in masks], each) for each in drawn.T])

    own, of = {}, {}
    for name, draws in orders.items():
        found = np.array([area(tuple(masks)) for masks in draws])
        dealt = [found[i::n] if is_disjoint and i < len(found) else found for i in range(n)]
        by_sample = [np.array([area(tuple(masks))]) for masks in samples.get(name, ())]
        own[name] = float(found[:, 0].mean())
        of[name] = np.stack([each.mean(axis=0) for each in by_sample or dealt])

    def row(first: str, second: str | None, found: NDArray[np.float64], value: float) -> dict[str, Any]:
        about = {"split": predictions.split.name, "first": first, "second": second, "values": found[:, 0].tolist()}
        of_one = None if is_disjoint else value
        return {**about, **asdict(crossed(found[:, 0], found[:, 1:], predictions.n_units, value=of_one))}

    rows = [row(name, None, of[name], own[name]) for name in orders]
    return rows + [row(a, b, of[a] - of[b], own[a] - own[b]) for a, b in combinations(orders, 2)]
