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
_NAMES = [column.name for column in _COLUMNS]


def estimators(records: Records) -> Shown:
    """A row a subject and estimator; grids of their correlations, and the curves."""
    every = records["estimators"]
    rows = tuple(_row(record, line) for record in every for line in record["lines"])
    if len(every) > 1:
        rows += _means(rows, len(every))
    notes = [
        f"Not a table of the paper, whose equation 2 is {REFERENCE}; what its authors' code computes is token. All "
        "scores of a subject come from one pass of gradients over training examples; none is normalised by layer.",
        f"{RUNNING_SUM} (defect): transformers' run_bertology.py never zeroes the gradient of its head mask, and so "
        "adds up absolute values of running sums; here at its default of one example a batch, in file order. It "
        "normalises by layer besides.",
        f"batch takes {_alternatives(record['configuration']['batch_size'] for record in every)} examples a batch, in "
        "file order; signed alone keeps the sign: heads that harm go first.",
        f"area: under the metric, times 100 ({_metrics(every)}), against the share of heads pruned, lowest score "
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
    table = Table(title, _COLUMNS, rows, tuple(notes))
    return Shown(table, figures, _summary(rows) if len(every) > 1 else None)


def _summary(rows: Sequence[tuple[Any, ...]]) -> Table:
    """The means, and on how many tasks the interval of a difference leaves out zero."""
    found = []
    for row in rows:
        cells = dict(zip(_NAMES, row, strict=True))
        if cells["measured on"] is None and cells["difference"] is not None:
            name = cells["estimator"]
            own = [dict(zip(_NAMES, each, strict=True)) for each in rows if each[2] == name]
            intervals = [each["its 95% interval"] for each in own if each["its 95% interval"]]
            less, more = sum(high < 0 for _, high in intervals), sum(low > 0 for low, _ in intervals)
            found.append((name, cells["difference"], less, more, cells["Spearman"], cells[_OVERLAP]))
    columns = (
        Column("estimator"),
        Column("difference of areas, mean", POINTS),
        Column("tasks where it is surely below 0"),
        Column("surely above"),
        Column("Spearman, mean", _TWO),
        Column(f"{_OVERLAP}, mean", _TWO),
    )
    return Table("", columns, tuple(found))


def _row(record: Record, line: Mapping[str, Any]) -> tuple[Any, ...]:
    name, difference = line["estimator"], line["area_difference"]
    interval = line.get(_BY_PERCENT, difference)
    is_reference = name == REFERENCE
    pair = next((p for p in record["pairs"] if {p["first"], p["second"]} == {name, REFERENCE}), None)
    spearman = {"value": None} if pair is None else pair["spearman"]
    return (
        record["task"],
        record["model"]["name"],
        f"{name} (defect)" if name == RUNNING_SUM else name,
        record["scored_on"]["n_examples"],
        record["data"][0]["n_examples"],
        100 * line["area"],
        None if is_reference else 100 * difference["value"],
        None if is_reference else (100 * interval["low"], 100 * interval["high"]),
        spearman["value"],
        None if spearman["value"] is None else (spearman["low"], spearman["high"]),
        None if pair is None else pair["overlap"],
        100 * line["half"]["value"],
    )


def _of_percents(records: Sequence[Record]) -> list[str]:
    """Said of intervals from records of format 1, whose predictions are not there to resample."""
    old = [record for record in records if _BY_PERCENT in record["lines"][0]]
    if not old:
        return []
    apart = max(
        abs(line[_BY_PERCENT]["value"] - line["area_difference"]["value"])
        for record in old
        for line in record["lines"]
    )
    return [
        f"The intervals of {', '.join(record['task'] for record in old)} are of the difference of areas over the "
        "percent that was asked for (20, 40, ...), not over the share of heads pruned, as all areas here are: at most "
        f"{100 * apart:.2f} points from it."
    ]


def _means(rows: Sequence[tuple[Any, ...]], n: int) -> tuple[tuple[Any, ...], ...]:
    """A row an estimator over all subjects, of what can be compared between metrics."""
    means = []
    for name in dict.fromkeys(row[2] for row in rows):
        own = [row for row in rows if row[2] == name]
        columns = list(zip(*own, strict=True))

        def mean(place: int, columns: Sequence[Any] = columns) -> float | None:
            values = [value for value in columns[place] if value is not None]
            return statistics.mean(values) if values else None

        difference, spearman, overlap = (
            mean(_NAMES.index(key)) for key in ("difference", "Spearman", _OVERLAP)
        )
        means.append(
            (f"mean of {n}", None, name, *(None,) * 3, difference, None, spearman, None, overlap, None)
        )
    return tuple(means)


def _metrics(records: Sequence[Record]) -> str:
    """Of each task."""
    return ", ".join(dict.fromkeys(f"{record['task']} {metric_name(record)}" for record in records))


def _alternatives(values: Iterable[float]) -> str:
    return " or ".join(f"{value:g}" for value in sorted(set(values)))
