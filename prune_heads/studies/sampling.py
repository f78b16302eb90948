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
from prune_heads.statistics.differences import resampled_values
from prune_heads.statistics.seeds import crossed
from prune_heads.studies.measuring import Measured
from prune_heads.studies.scoring import Lab

USEFUL = 100  # examples of a scoring sample; fewer give orders that say little of that of the whole
N_DRAWS = 1_000  # resamples of the examples that are measured on, for variances

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
    found, groups = dict[str, list[Predictions]](), dict[str, NDArray[Any]]()
    for name, whole in examples.items():
        groups[name] = np.arange(len(whole.split)) if whole.groups is None else whole.groups
        if groups[name].max() < 1:
            must = f"scoring samples need two examples or groups of examples at least; {whole.split.name} has one"
            raise UnfitError(f"{must}. Leave --score-samples out")
    is_disjoint = all(len(of) >= n * USEFUL and of.max() >= n for of in groups.values())
    for name, whole in examples.items():
        rng, n_groups = np.random.default_rng(seed), int(groups[name].max()) + 1
        drawn = rng.permutation(n_groups) if is_disjoint else rng.integers(0, n_groups, n * n_groups)
        order = np.argsort(groups[name], kind="stable")
        rows = np.split(order, np.cumsum(np.bincount(groups[name]))[:-1])  # of each group
        found[name] = [
            lab.of(whole.split.at([int(i) for group in part for i in rows[group]])) for part in np.array_split(drawn, n)
        ]
    return is_disjoint, found


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
        samples: Criterion -> masks of the order by each sample; those that look at data.
        measured: What is answered under all masks.
        n: Samples.
        seed: Of the resamples of examples.
        is_disjoint: See `samples_of`.

    Returns:
        Rows `{"split", "first", "second", "values", "value", "low", "high", ...}`, see `Crossed`; `second` is None for
        the area of `first` itself, else it is first less second.
    """
    predictions, metric = measured.predictions, measured.predictions.measure
    references, groups = predictions.references, predictions.groups
    n_units = len(references) if groups is None else int(groups.max()) + 1

    @cache
    def area(masks: tuple[HeadMask, ...]) -> NDArray[np.float64]:
        """The area, and after it those on resampled examples, which are the same for all."""
        counts, answers = [len(mask) for mask in masks], [measured.answers(mask) for mask in masks]
        how: dict[str, Any] = {"by_cells": False, "groups": groups}
        drawn = resampled_values(metric, answers, references, seed, N_DRAWS, **how)
        whole = [metric(each, references) for each in answers]
        return np.array([area_under_curve(counts, each) for each in (whole, *drawn.T)])

    def mean_area(draws: Sequence[Masks]) -> NDArray[np.float64]:
        return np.mean([area(tuple(masks)) for masks in draws], axis=0)

    own, of = {}, {}
    for name, draws in orders.items():
        dealt = [draws[i::n] or draws for i in range(n)] if is_disjoint else [draws] * n
        own[name] = mean_area(draws)[0]
        of[name] = np.stack([mean_area(each) for each in ([[s] for s in samples[name]] if name in samples else dealt)])

    def row(first: str, second: str | None, found: NDArray[np.float64], value: float) -> dict[str, Any]:
        about = {"split": predictions.split.name, "first": first, "second": second, "values": found[:, 0].tolist()}
        return {**about, **asdict(crossed(found[:, 0], found[:, 1:], n_units, value=None if is_disjoint else value))}

    rows = [row(name, None, of[name], own[name]) for name in orders]
    return rows + [row(a, b, of[a] - of[b], own[a] - own[b]) for a, b in combinations(orders, 2)]
