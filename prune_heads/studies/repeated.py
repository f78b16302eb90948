"""Curves several times on the same examples: by orders of other scoring samples, or of fine-tunings by other seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_heads.errors import UnfitError
from prune_heads.heads import HeadMask
from prune_heads.options import Setup
from prune_heads.options.studies import Conditions
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.statistics import area_under_curve
from prune_heads.statistics.groups import units
from prune_heads.statistics.margins import INSIDE, non_inferior
from prune_heads.statistics.seeds import crossed
from prune_heads.studies.measuring import Measured
from prune_heads.studies.scoring import Lab

USEFUL = 100  # examples of a scoring sample; fewer give orders that say little of that of the whole
ENOUGH = 1_500  # examples; on all of a larger split five samples take six times as long as one curve

Masks = Sequence[HeadMask]  # of an order, one a point
Record = dict[str, Any]


def check_units(what: str, every: Iterable[Predictions], cure: str = "") -> None:
    """Refuse a split of one example, or one group of examples, which says nothing of others: `UnfitError`."""
    for each in every:
        if each.n_units < 2:
            must = f"{what} must be of two examples or groups of examples at least"
            raise UnfitError(f"{must}; {each.split.name} has one{cure}")


def samples_of(
    examples: Mapping[str, Predictions], lab: Lab, n: int, seed: int, useful: int | None = None
) -> tuple[bool, dict[str, list[Predictions]]]:
    """Scoring samples by criterion: `n` random parts that share no example, and no group of examples.

    Where a part were shorter than is `useful` (None: `USEFUL`), for any criterion, all are resamples as long as the
    whole: the first value is then False. Criteria that look at the same examples share their samples.
    """
    every, useful = examples.values(), useful or USEFUL
    is_disjoint = all(len(each.split) >= n * useful and each.n_units >= n for each in every)

    @cache
    def drawn(whole: Predictions) -> list[Predictions]:
        rng, n_units, places = np.random.default_rng(seed), whole.n_units, np.arange(len(whole.split))
        order = rng.permutation(n_units) if is_disjoint else rng.integers(0, n_units, n * n_units)
        of = units(len(places), whole.groups)
        counts = (np.bincount(part, minlength=n_units)[of] for part in np.array_split(order, n))
        return [lab.part(whole, np.repeat(places, each).tolist()) for each in counts]

    return is_disjoint, {name: drawn(whole) for name, whole in examples.items()}


def enough_of(whole: Predictions, lab: Lab, seed: int) -> Predictions:
    """At most `ENOUGH` random examples, in whole groups, to measure the curves of all scoring samples on."""
    if len(whole.split) <= ENOUGH:
        return whole
    of = units(len(whole.split), whole.groups)
    order = np.random.default_rng(seed).permutation(whole.n_units)
    n_taken = max(2, int(np.searchsorted(np.bincount(of)[order].cumsum(), ENOUGH, side="right")))
    return lab.part(whole, np.flatnonzero(np.isin(of, order[:n_taken])).tolist())


def areas_sampled(
    orders: Mapping[str, Sequence[Masks]], samples: Mapping[str, Sequence[Masks]], measured: Measured, **how: Any
) -> list[dict[str, Any]]:
    """Areas on a split, and their differences, with 95% intervals for other scoring samples and other examples.

    Of disjoint samples the area is the mean of theirs, whose orders follow from fewer examples than that of the curve.
    Of resamples it is that of the curve, and they give its variance alone, as resampled orders are worse. Draws of
    `random` are dealt out as disjoint samples, to vary as their mean does; a criterion that looks at no data has one.

    Args:
        orders: Criterion -> masks of its curve, of each draw.
        samples: Criterion that looks at data -> masks of the order by each sample.
        measured: What is answered under all masks.
        how: Samples, `n`; whether they are disjoint, `is_disjoint`; and the `seed` of the resamples of examples.

    Returns:
        Rows `{"split", "first", "second", "values", "value", "low", "high", ...}`, see `Crossed`; `second` is None for
        the area of `first` itself, else it is first less second.
    """
    predictions, n, is_disjoint = measured.predictions, how["n"], how["is_disjoint"]

    @cache
    def area(masks: tuple[HeadMask, ...]) -> NDArray[np.float64]:
        """The area, and after it those on resampled examples."""
        drawn = predictions.resampled([measured.answers(mask) for mask in masks], how["seed"])
        return np.array([area_under_curve([len(mask) for mask in masks], each) for each in drawn.T])

    own, of = {}, {}
    for name, draws in orders.items():
        found = np.array([area(tuple(masks)) for masks in draws])
        off = [found[i % len(found) :: n].mean(axis=0) - found.mean(axis=0) for i in range(n)]
        dealt = [found.mean(axis=0) + each / (1 if is_disjoint else n**0.5) for each in off]
        own[name], of[name] = found[:, 0].mean(), np.stack([area((*each,)) for each in samples.get(name, ())] or dealt)

    def row(first: str, second: str | None, found: NDArray[np.float64], value: float) -> dict[str, Any]:
        about = {"split": predictions.split.name, "first": first, "second": second, "values": found[:, 0].tolist()}
        of_one = None if is_disjoint else float(value)
        return {**about, **asdict(crossed(found[:, 0], found[:, 1:], predictions.n_units, value=of_one))}

    rows = [row(name, None, of[name], own[name]) for name in orders]
    return rows + [row(a, b, of[a] - of[b], own[a] - own[b]) for a, b in combinations(orders, 2)]


def curves_of_seeds(
    setups: Sequence[Setup], curves: Sequence[Record], options: Conditions, reporter: Reporter
) -> Record:
    """The record of several fine-tunings, from the record of `curve` of each, on the first split and by one criterion.

    What they answered is in the store. Each of the `points`, and the `area` under the curve, has the `values` of all
    seeds and `Crossed` of them. `kept`, where there is a margin, has that of the difference to no pruned head, with an
    interval of 90% and its verdict. An `UnfitError` if they are not of the same examples, or not of as many heads; a
    `PruneHeadsError` if a model or data cannot be loaded.
    """
    study, data, first = Study("seeds", reporter), curves[0]["data"][0], curves[0]
    of_each = [[p for p in each["lines"][0]["points"] if p["split"] == data["split"]] for each in curves]
    counts, k = [point["n_pruned"] for point in of_each[0]], len(curves)
    pairs = zip(curves, of_each, strict=True)
    same = {(each["data"][0]["fingerprint"], *(point["n_pruned"] for point in points)) for each, points in pairs}
    if len(same) > 1 or data.get("n_groups", data["n_examples"]) < 2:
        names = ", ".join(each["model"]["name"] for each in curves)
        raise UnfitError(f"seeds must share two examples or more, and the number of heads at each point; got {names}")
    asked = {"seed": options.seed, "margin": options.margin, "dtype": first["configuration"]["dtype"]}
    made_of = {"models": [each["model"] for each in curves], "curves": [each["identity_hash"] for each in curves]}
    study.begin(asked, **made_of, data=[data])
    answers = list[NDArray[Any]]()
    for setup, points in zip(setups, of_each, strict=True):
        predictions = Lab(setup, reporter).predictions(data["split"])
        gone = predictions.gone
        masks = [HeadMask.parse(" ".join(point["heads_pruned"]), gone.n_heads) | gone for point in points]
        measured = Measured(predictions, masks, options.seed)
        answers += [measured.answers(mask) for mask in masks]
    study.lap("evaluate")
    drawn = predictions.resampled(answers, options.seed).reshape(k, len(counts), -1).swapaxes(0, 1)

    def of(found: NDArray[Any], **how: Any) -> Record:
        values, draws = found[:, 0], found[:, 1:]
        return {"values": values.tolist(), **asdict(crossed(values, draws, predictions.n_units, **how))}

    places = [{key: point[key] for key in ("percent", "n_pruned")} for point in of_each[0]]
    about: Record = {"points": [place | of(each) for place, each in zip(places, drawn, strict=True)], "kept": None}
    area = [area_under_curve(counts, column) for column in drawn.reshape(len(counts), -1).T]
    about["area"] = of(np.reshape(area, (k, -1)))
    if (margin := options.margin) is not None:
        lost = [of(each - drawn[0], confidence=INSIDE) for each in drawn]
        kept = [{**each, "verdict": non_inferior(each["low"], each["high"], margin)} for each in lost]
        about["kept"] = {"split": data["split"], "margin": margin, "points": kept}
    study.lap("statistics")
    return study.record(torch.device("cpu"), task=first["task"], headline=first["headline"], **about)
