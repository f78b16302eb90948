"""The estimators of gate gradients compared, which the paper does not do; table 4: how much faster a model is."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from prune_heads.paper import published, sheet
from prune_heads.reporting.figures.curves import estimator_curves
from prune_heads.reporting.figures.heads import agreement_figure
from prune_heads.reporting.michel2019.shown import Record, Records, Row, Shown, said, table_of
from prune_heads.reporting.words import metric_name, share
from prune_heads.studies.curves import REFERENCE, RUNNING_SUM
from prune_heads.tables import Table

_OVERLAP = "overlap at 50%"
_BY_PERCENT = "area_difference_by_percent"
"""Of a line from a record of format 1: the difference over the percent asked for, whose interval is all there is."""


def estimators(records: Records) -> Shown:
    """A row a subject and estimator; grids of their correlations, and the curves."""
    every = records["estimators"]
    rows = [_row(record, line) for record in every for line in record["lines"]]
    metrics = ", ".join(dict.fromkeys(f"{record['task']} {metric_name(record)}" for record in every))
    words = {"reference": REFERENCE, "running_sum": RUNNING_SUM, "metrics": metrics}
    words |= {
        "batch": _alternatives(record["configuration"]["batch_size"] for record in every),
        "chance": _alternatives(round(record["chance_overlap"], 2) for record in every),
    }
    notes = said("estimators", **words)
    if any(record["reads_one_token"] for record in every):
        notes += said("estimators", "one_token")
    if old := [record for record in every if _BY_PERCENT in record["lines"][0]]:  # nothing is there to resample
        of_old = (line for record in old for line in record["lines"])
        apart = max(abs(line[_BY_PERCENT]["value"] - line["area_difference"]["value"]) for line in of_old)
        tasks = ", ".join(record["task"] for record in old)
        notes += said("estimators", "of_percents", tasks=tasks, apart=100 * apart)
    means, summary = [], []
    for name in dict.fromkeys(row["estimator"] for row in rows):
        of_name = [row for row in rows if row["estimator"] == name]
        mean: Row = {"task": f"mean of {len(every)}", "estimator": name}
        for key in ("difference", "Spearman", _OVERLAP):  # what can be compared between metrics
            values = [row[key] for row in of_name if row[key] is not None]
            mean[key] = statistics.mean(values) if values else None
        means.append(mean)
        intervals = [row["its 95% interval"] for row in of_name if row["its 95% interval"]]
        if intervals:
            summary.append(
                {
                    "estimator": name,
                    "difference of areas, mean": mean["difference"],
                    "tasks where it is surely below 0": sum(high < 0 for _, high in intervals),
                    "surely above": sum(low > 0 for low, _ in intervals),
                    "Spearman, mean": mean["Spearman"],
                    f"{_OVERLAP}, mean": mean[_OVERLAP],
                }
            )
    figures = {"": agreement_figure(every), "-curves": estimator_curves(every)}
    if len(every) == 1:
        return Shown(table_of("estimators", every, rows, notes), figures)
    table = table_of("estimators", every, [*rows, *means], notes)
    return Shown(table, figures, Table.of("", summary, sheet("estimators")["summary"]))


def _row(record: Record, line: Mapping[str, Any]) -> Row:
    name, difference = line["estimator"], line["area_difference"]
    row: Row = {
        "task": record["task"],
        "model": record["model"]["name"],
        "estimator": f"{name} (defect)" if name == RUNNING_SUM else name,
        "scored on": record["scored_on"]["n_examples"],
        "measured on": record["data"][0]["n_examples"],
        **dict.fromkeys(sheet("estimators")["forms"]),
        "area": 100 * line["area"],
        "metric at 50%": 100 * line["half"]["value"],
    }
    if name != REFERENCE:
        ends = line.get(_BY_PERCENT, difference)
        row |= {"difference": 100 * difference["value"], "its 95% interval": (100 * ends["low"], 100 * ends["high"])}
    for pair in record["pairs"]:
        if {pair["first"], pair["second"]} == {name, REFERENCE}:
            r = pair["spearman"]
            row |= {"Spearman": r["value"], _OVERLAP: pair["overlap"]}
            row["95% interval"] = None if r["value"] is None else (r["low"], r["high"])
    return row


def _alternatives(values: Iterable[float]) -> str:
    return " or ".join(f"{value:g}" for value in sorted(set(values)))


def table4(records: Records) -> Shown:
    """Examples a second, padded to one length as in the paper."""
    (record,) = records["bench"]
    theirs = published()["table4"]
    keys = ("original", "pruned_50", "gain_percent")
    there = {size: [theirs[key][i] for key in keys] for i, size in enumerate(theirs["batch_size"])}
    rows = []
    for row in record["rows"]:
        if row["lengths"] == "fixed":
            of_sides = [row["examples_per_second"][side] for side in ("original", "removed")]
            speeds = [of[key] for of in of_sides for key in ("mean", "deviation")]
            ratios = (row["ratio"]["removed"]["median"], row["ceiling"])
            gains = (None if ratio is None else 100 * (ratio - 1) for ratio in ratios)
            values = (row["batch_size"], *there.get(row["batch_size"], [None] * 3), *speeds, *gains)
            rows.append(dict(zip(("batch", *sheet("table4")["forms"]), values, strict=True)))
    where = record["provenance"]
    machine = f"{where['threads']} threads of a CPU" if where["device"] == "cpu" else where["device"]
    is_unknown = any(row["ceiling"] is None for row in record["rows"])
    unknown = "; it is not known for this type of model" if is_unknown else ""
    words = {"record": record, "of": theirs["of"], "share": share(record), "machine": machine, "unknown": unknown}
    return Shown(table_of("table4", [record], rows, said("table4", **words)))
