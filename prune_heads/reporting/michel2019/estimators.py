"""The estimators of gate gradients compared: a table that the paper does not have."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prune_heads.reporting.figures import agreement_figure, estimator_curves
from prune_heads.reporting.michel2019.shown import Record, Records, Shown, precision_note
from prune_heads.reporting.words import metric_name
from prune_heads.studies.estimators import REFERENCE, RUNNING_SUM
from prune_heads.tables import INTERVAL, POINTS, Column, Table, number

_TWO = number(2)
_OVERLAP = "overlap at 50%"
_BY_PERCENT = "area_difference_by_percent"
"""Of a line from a record of format 1: the difference over the percent asked for, whose interval is all there is."""
_COLUMNS = (
    Column("task"),
    Column("model"),
    Column("estimator"),
    Column("scored on"),
    Column("measured on"),
    Column("area", _TWO),
    Column("difference", POINTS),
    Column("its 95% interval", INTERVAL),
    Column("Spearman", _TWO),
    Column("95% interval", INTERVAL),
    Column(_OVERLAP, _TWO),
    Column("metric at 50%", _TWO),
)
_Row = dict[str, Any]
"""Name of a column -> its value."""


def estimators(records: Records) -> Shown:
    """A row a subject and estimator; grids of their correlations, and the curves."""
    every = records["estimators"]
    rows = [_row(record, line) for record in every for line in record["lines"]]
    if len(every) > 1:
        rows += _means(rows, len(every))
    metrics = ", ".join(dict.fromkeys(f"{record['task']} {metric_name(record)}" for record in every))
    notes = [
        f"Not a table of the paper, whose equation 2 is {REFERENCE}; what its authors' code computes is token. All "
        "scores of a subject come from one pass of gradients over training examples; none is normalised by layer.",
        f"{RUNNING_SUM} (defect): transformers' run_bertology.py never zeroes the gradient of its head mask, and so "
        "adds up absolute values of running sums; here at its default of one example a batch, in file order. It "
        "normalises by layer besides.",
        f"batch takes {_alternatives(record['configuration']['batch_size'] for record in every)} examples a batch, in "
        "file order; signed alone keeps the sign: heads that harm go first.",
        f"area: under the metric, times 100 ({metrics}), against the share of heads pruned, lowest score "
        "first. Intervals of its difference: paired bootstrap of the examples measured on, orders as they are; those "
        "of Spearman's correlation take heads as independent.",
        f"difference (of areas), Spearman and overlap are against {REFERENCE}.",
        "overlap at 50%: share of the heads that go at 50% by the estimator that also go by "
        f"{REFERENCE}; by chance {_alternatives(round(record['chance_overlap'], 2) for record in every)}.",
    ]
    if any(record["reads_one_token"] for record in every):
        notes.append(
            "token divides by tokens, but by examples in a classifier's last layer, whose heads this lifts by the mean "
            "length of a text: its order differs by this too."
        )
    notes += [*_of_percents(every), *precision_note(*every)]
    title = "Estimators of importance from gate gradients (not in the paper)"
    figures = {"": agreement_figure(every), "-curves": estimator_curves(every)}
    cells = tuple(tuple(row.get(column.name) for column in _COLUMNS) for row in rows)
    table = Table(title, _COLUMNS, cells, tuple(notes))
    return Shown(table, figures, _summary(rows) if len(every) > 1 else None)


def _summary(rows: Sequence[_Row]) -> Table:
    """The means, and on how many tasks the interval of a difference leaves out zero."""
    found = []
    for row in rows:
        if "measured on" not in row and row["difference"] is not None:
            name = row["estimator"]
            own = [each.get("its 95% interval") for each in rows if each["estimator"] == name]
            intervals = [interval for interval in own if interval]
            less, more = sum(high < 0 for _, high in intervals), sum(low > 0 for low, _ in intervals)
            found.append((name, row["difference"], less, more, row["Spearman"], row[_OVERLAP]))
    columns = (
        Column("estimator"),
        Column("difference of areas, mean", POINTS),
        Column("tasks where it is surely below 0"),
        Column("surely above"),
        Column("Spearman, mean", _TWO),
        Column(f"{_OVERLAP}, mean", _TWO),
    )
    return Table("", columns, tuple(found))


def _row(record: Record, line: Mapping[str, Any]) -> _Row:
    name, difference = line["estimator"], line["area_difference"]
    interval = line.get(_BY_PERCENT, difference)
    is_reference = name == REFERENCE
    pair = next((p for p in record["pairs"] if {p["first"], p["second"]} == {name, REFERENCE}), None)
    spearman = {"value": None} if pair is None else pair["spearman"]
    return {
        "task": record["task"],
        "model": record["model"]["name"],
        "estimator": f"{name} (defect)" if name == RUNNING_SUM else name,
        "scored on": record["scored_on"]["n_examples"],
        "measured on": record["data"][0]["n_examples"],
        "area": 100 * line["area"],
        "difference": None if is_reference else 100 * difference["value"],
        "its 95% interval": None if is_reference else (100 * interval["low"], 100 * interval["high"]),
        "Spearman": spearman["value"],
        "95% interval": None if spearman["value"] is None else (spearman["low"], spearman["high"]),
        _OVERLAP: None if pair is None else pair["overlap"],
        "metric at 50%": 100 * line["half"]["value"],
    }


def _of_percents(records: Sequence[Record]) -> list[str]:
    """Said of intervals from records of format 1, whose predictions are not there to resample."""
    old = [record for record in records if _BY_PERCENT in record["lines"][0]]
    if not old:
        return []
    apart = max(
        abs(line[_BY_PERCENT]["value"] - line["area_difference"]["value"]) for record in old for line in record["lines"]
    )
    return [
        f"The intervals of {', '.join(record['task'] for record in old)} are of the difference of areas over the "
        "percent that was asked for (20, 40, ...), not over the share of heads pruned, as all areas here are: at most "
        f"{100 * apart:.2f} points from it."
    ]


def _means(rows: Sequence[_Row], n: int) -> list[_Row]:
    """A row an estimator over all subjects, of what can be compared between metrics."""
    means = []
    for name in dict.fromkeys(row["estimator"] for row in rows):
        mean: _Row = {"task": f"mean of {n}", "estimator": name}
        for key in ("difference", "Spearman", _OVERLAP):
            values = [row[key] for row in rows if row["estimator"] == name and row[key] is not None]
            mean[key] = statistics.mean(values) if values else None
        means.append(mean)
    return means


def _alternatives(values: Iterable[float]) -> str:
    return " or ".join(f"{value:g}" for value in sorted(set(values)))
