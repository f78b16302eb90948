"""Figures 3 and 6: how far one can prune, lowest score first."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

from prune_heads.paper import published
from prune_heads.reporting.curves import label, points_of, splits, values_of
from prune_heads.reporting.figures import criteria_figure, subjects_figure
from prune_heads.reporting.michel2019.shown import (
    ROUNDED,
    Record,
    Records,
    Shown,
    is_translation,
    panels,
    precision_note,
    subject_of,
)
from prune_heads.reporting.words import metric_name
from prune_heads.tables import RANGE, Column, Table, number

NOTICEABLE = 0.01
"""A loss of this much of the metric counts as noticeable; the paper does not say what it means by the word."""

_FOUR = number(4)
_NEAR_PERCENT = 1.5
"""Within which a point of the replication, which has 144 heads in steps of 5%, stands for one of ours."""
_REPLICATED = {"gradient": "gradient", "oracle": "ablation (oracle)"}
"""End of a curve of the replication -> its order, in our words."""


def figure3(records: Records) -> Shown:
    """In order of I_h, and of the differences that each head makes alone; a row an order."""
    every = records["orders"]
    rows: list[tuple[str, str, float | None, Mapping[float, float]]] = []
    for record in every:
        split = splits(record)[0]
        rows += [
            (
                f"{subject_of(record)}, {metric_name(record)}",
                label(line, split),
                prunable_percent(record, line),
                values_of(line, split),
            )
            for line in record["lines"]
        ]
    percents = sorted({percent for *_, values in rows for percent in values})
    reached = published()["figure3"]["no_noticeable_loss_up_to_percent"]
    if any(map(is_translation, every)):
        rows.append(("published: a large Transformer on WMT14 En-Fr", "gradient", reached["wmt"], {}))
    if not all(map(is_translation, every)):
        rows.append(("published: bert-base-uncased on mnli", "gradient", reached["bert"], {}))
    for task in dict.fromkeys(record["task"] for record in every):
        for end, order in _REPLICATED.items():
            if curve := _replicated(f"{task}_{end}"):
                near = {
                    percent: value for percent in percents if (value := _near(curve, percent)) is not None
                }
                rows.append((f"replication: bert-base-uncased on {task}", order, None, near))
    columns = (
        Column("subject"),
        Column("order"),
        Column("up to, %", number(0)),
        *(Column(f"{percent:g}%", _FOUR) for percent in percents),
    )
    notes = (
        f"Up to: how many can go without a loss of {100 * NOTICEABLE:g} point; the paper says up to where there is no "
        f"noticeable loss, and gives no other numbers. A replication ran the authors' code. {ROUNDED}",
        *precision_note(*every),
    )
    whose = f", {subject_of(every[0])}" if len(every) == 1 else ""
    cells = tuple((*row, *(values.get(percent) for percent in percents)) for *row, values in rows)
    table = Table(f"Figure 3: the metric by heads pruned, lowest score first{whose}", columns, cells, notes)
    figures = {end: criteria_figure(record) for end, record in panels(every)}
    return Shown(table, figures, _areas(every) if len(every) > 1 else None)


def _areas(every: Sequence[Record]) -> Table:
    """How much of the metric each order keeps: over all shares of heads, and without half of them."""
    orders = list(
        dict.fromkeys(label(line, splits(record)[0]) for record in every for line in record["lines"])
    )
    rows = []
    for record in every:
        split = splits(record)[0]
        lines = {label(line, split): line for line in record["lines"]}
        there = [lines.get(order) for order in orders]
        rows.append(
            (
                subject_of(record),
                metric_name(record),
                *(line and line["areas"][split] for line in there),
                *(line and values_of(line, split).get(50) for line in there),
            )
        )
    columns = (
        *(Column(name) for name in ("subject", "metric")),
        *(Column(f"area, {order}", _FOUR) for order in orders),
        *(Column(f"50% pruned, {order}", _FOUR) for order in orders),
    )
    return Table("", columns, tuple(rows))


def figure6(records: Records) -> Shown:
    """In order of I_h, on several tasks; a row a model, and one of their mean where a task has several."""
    by_task: dict[str, list[Record]] = {}
    for record in records["curve"]:
        by_task.setdefault(record["task"], []).append(record)
    rows = [row for task, same in by_task.items() for row in _of_task(task, same)]
    ranges = len(by_task) < len(records["curve"])
    columns = (
        Column("task"),
        Column("model"),
        Column("metric"),
        Column("whole", _FOUR),
        Column("its range", RANGE),
        Column("published up to, %"),
        Column("up to, %", number(0)),
        Column("its range, %", RANGE),
    )
    kept = [i for i, column in enumerate(columns) if ranges or column.form is not RANGE]
    notes = (
        f"Heads that can go, lowest score first, before {100 * NOTICEABLE:g} point of the metric is "
        "lost; what the paper calls a noticeable loss it does not define. Published: bert-base-uncased"
        + (", and of translations a Transformer on IWSLT De-En." if _has_translation(by_task) else ".")
        + f" {ROUNDED}",
        *precision_note(*records["curve"]),
    )
    table = Table(
        "Figure 6: how far one can prune on other tasks",
        tuple(columns[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
        notes,
    )
    return Shown(table, {"": subjects_figure(by_task)})


def _has_translation(by_task: Mapping[str, Sequence[Record]]) -> bool:
    return any(is_translation(same[0]) for same in by_task.values())


def _of_task(task: str, same: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
    """The rows of the models on one task."""
    theirs = published()["figure6"]["no_noticeable_loss_up_to_percent"]
    before = theirs.get("iwslt" if is_translation(same[0]) else task)
    wholes = [points_of(each["lines"][0], splits(each)[0])[0]["value"] for each in same]
    reached = [prunable_percent(each, each["lines"][0]) for each in same]
    metric = metric_name(same[0])
    for each, whole, percent in zip(same, wholes, reached, strict=True):
        yield task, each["model"]["name"], metric, whole, None, before, percent, None
    if len(same) > 1:
        ranges = [(min(values), max(values)) for values in (wholes, reached)]
        yield task, f"mean of {len(same)}", metric, mean(wholes), ranges[0], before, mean(reached), ranges[1]


def prunable_percent(record: Record, line: Mapping[str, Any]) -> float:
    """The largest share up to which no point of a line loses noticeably, in percent."""
    points = points_of(line, splits(record)[0])
    reached = 0.0
    for point in points:
        if points[0]["value"] - point["value"] >= NOTICEABLE:
            break
        reached = point["percent"]
    return reached


def _replicated(name: str) -> dict[float, float]:
    """A curve of the replication, by percent; empty if there is none of that name."""
    found = published()["replication"]
    return dict(zip((100 * n / 144 for n in found["heads"]), found.get(name, ()), strict=False))


def _near(curve: Mapping[float, float], percent: float) -> float | None:
    """The value at the nearest point, if it is near enough."""
    nearest = min(curve, key=lambda at: abs(at - percent), default=None)
    return None if nearest is None or abs(nearest - percent) > _NEAR_PERCENT else curve[nearest]
