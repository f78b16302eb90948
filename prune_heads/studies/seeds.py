"""Several fine-tunings of one checkpoint as one subject: the mean of their curves, for other seeds and examples."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_heads.errors import UnfitError
from prune_heads.heads import HeadMask
from prune_heads.options import Conditions, Setup
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.statistics import area_under_curve
from prune_heads.statistics.differences import resampled_values
from prune_heads.statistics.margins import INSIDE, non_inferior
from prune_heads.statistics.seeds import crossed
from prune_heads.studies.measuring import Measured
from prune_heads.studies.scoring import Lab

N_DRAWS = 2_000  # resamples of the examples, for variances

Record = dict[str, Any]


def curves_of_seeds(
    setups: Sequence[Setup], curves: Sequence[Record], options: Conditions, reporter: Reporter
) -> Record:
    """The record of several fine-tunings, from the record of `curve` of each, on the first split and by one criterion.

    What they answered is in the store. `points` hold of each share `values`, the metric of each seed, and `Crossed` of
    them; `area` is the same of the areas under the curves. `kept`, where there is a margin, says of each point whether
    the mean loss is smaller: the 90% interval of the difference to no pruned head, and `non_inferior` of it.

    Raises:
        UnfitError: If they are not of the same examples, or not of as many heads.
        PruneHeadsError: If a model or data cannot be loaded.
    """
    study, data = Study("seeds", reporter), curves[0]["data"][0]
    of_each = [[p for p in each["lines"][0]["points"] if p["split"] == data["split"]] for each in curves]
    counts = [point["n_pruned"] for point in of_each[0]]
    for record, points in zip(curves, of_each, strict=True):
        on = record["data"][0]["fingerprint"]
        if on != data["fingerprint"] or [point["n_pruned"] for point in points] != counts:
            same = f"{curves[0]['model']['name']} and {record['model']['name']}"
            raise UnfitError(f"seeds of a subject must share their examples and numbers of heads; {same} do not")
    asked = {"seed": options.seed, "margin": options.margin, "dtype": curves[0]["configuration"]["dtype"]}
    of_curves = [record["identity_hash"] for record in curves]
    study.begin(asked, models=[record["model"] for record in curves], data=[data], curves=of_curves)
    answers = list[NDArray[Any]]()
    for setup, points in zip(setups, of_each, strict=True):
        predictions = Lab(setup, reporter).predictions(data["split"])
        gone = predictions.gone
        masks = [HeadMask.parse(" ".join(point["heads_pruned"]), gone.n_heads) | gone for point in points]
        measured = Measured(predictions, masks, options.seed)
        answers += [measured.answers(mask) for mask in masks]
    study.lap("evaluate")
    references, groups, metric = predictions.references, predictions.groups, predictions.measure
    n_units = len(references) if groups is None else int(groups.max()) + 1
    if n_units < 2:
        raise UnfitError(f"seeds of a subject must be measured on two examples at least; {data['split']} has {n_units}")
    draws = resampled_values(metric, answers, references, options.seed, N_DRAWS, groups=groups)
    draws = draws.reshape(len(setups), len(counts), N_DRAWS)
    values = np.array([metric(each, references) for each in answers]).reshape(len(setups), len(counts))

    def of(numbers: NDArray[Any], drawn: NDArray[Any]) -> Record:
        return {"values": numbers.tolist(), **asdict(crossed(numbers, drawn, n_units))}

    found = [
        {"percent": point["percent"], "n_pruned": point["n_pruned"], **of(values[:, i], draws[:, i])}
        for i, point in enumerate(of_each[0])
    ]
    areas = np.array([area_under_curve(counts, each) for each in values])
    area = of(areas, np.array([[area_under_curve(counts, column) for column in each.T] for each in draws]))
    kept = None
    if (margin := options.margin) is not None:
        lost = zip((values - values[:, :1]).T, (draws - draws[:, :1]).swapaxes(0, 1), strict=True)
        ends = [crossed(*each, n_units, confidence=INSIDE) for each in lost]
        verdicts = [non_inferior(each.low, each.high, margin) for each in ends]
        rows = [{"low": e.low, "high": e.high, "verdict": v} for e, v in zip(ends, verdicts, strict=True)]
        kept = {"split": data["split"], "margin": margin, "points": rows}
    study.lap("statistics")
    about = {"task": curves[0]["task"], "headline": curves[0]["headline"], "n_units": n_units}
    return study.record(torch.device("cpu"), **about, points=found, area=area, kept=kept)
