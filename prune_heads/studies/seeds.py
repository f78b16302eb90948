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
from prune_heads.statistics.margins import INSIDE, non_inferior
from prune_heads.statistics.seeds import crossed
from prune_heads.studies.measuring import Measured
from prune_heads.studies.scoring import Lab

Record = dict[str, Any]


def curves_of_seeds(
    setups: Sequence[Setup], curves: Sequence[Record], options: Conditions, reporter: Reporter
) -> Record:
    """The record of several fine-tunings, from the record of `curve` of each, on the first split and by one criterion.

    What they answered is in the store. Each of the `points`, and the `area` under the curve, has the `values` of all
    seeds and `Crossed` of them. `kept`, where there is a margin, has that of the difference to no pruned head, with an
    interval of 90% and its verdict.

    Raises:
        UnfitError: If they are not of the same examples, or not of as many heads.
        PruneHeadsError: If a model or data cannot be loaded.
    """
    study, data, first = Study("seeds", reporter), curves[0]["data"][0], curves[0]
    of_each = [[p for p in each["lines"][0]["points"] if p["split"] == data["split"]] for each in curves]
    counts, k = [point["n_pruned"] for point in of_each[0]], len(curves)
    for record, points in zip(curves, of_each, strict=True):
        same = record["data"][0]["fingerprint"] == data["fingerprint"] and data["n_examples"] > 1
        if not same or [point["n_pruned"] for point in points] != counts:
            who = f"{first['model']['name']} and {record['model']['name']}"
            raise UnfitError(f"seeds must share two examples or more, and the number of heads at each point; got {who}")
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
