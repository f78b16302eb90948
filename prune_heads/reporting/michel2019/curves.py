"""Figures 3 to 6: how far one can prune, lowest score first."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from prune_heads.paper import published
from prune_heads.reporting.curves import label, points_of, splits, values_of
from prune_heads.reporting.figures import criteria_figure, epochs_figure, kinds_figure, subjects_figure
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
from prune_heads.statistics import correlate
from prune_heads.tables import INTERVAL, RANGE, Column, Table, number

NOTICEABLE = 0.01
"""A loss of this much of the metric counts as noticeable; the paper does not say what it means by the word."""

_FOUR = number(4)
_KINDS = {"E": "encoder self-attention", "A": "encoder-decoder attention", "D": "decoder self-attention"}
_SHARES = (20, 40, 60, 80)
"""Percent of the heads, for the table; the figure has all."""
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
                near = {percent: value for percent in percents if (value := _near(curve, percent)) is not None}
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
    orders = list(dict.fromkeys(label(line, splits(record)[0]) for record in every for line in record["lines"]))
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


def figure4(records: Records) -> Shown:
    """The metric as heads of the encoder, of the decoder, or between them go, lowest I_h first."""
    by_kind = {letter: records[f"curve-{letter}"][0] for letter in _KINDS}
    first = by_kind["E"]
    split = splits(first)[0]
    values = {letter: values_of(record["lines"][0], split) for letter, record in by_kind.items()}
    rows = tuple(
        (f"{percent:g}%", *(curve.get(percent) for curve in values.values()))
        for percent in sorted({percent for curve in values.values() for percent in curve})
    )
    columns = (
        Column("heads of the kind pruned"),
        *(Column(f"{letter}: {name.removesuffix(' attention')}", _FOUR) for letter, name in _KINDS.items()),
    )
    metric, scored = metric_name(first), first["scored_on"]["gradient"]["n_examples"]
    notes = (
        f"Measured: {metric} on {first['data'][0]['n_examples']} examples of {split}; importance is estimated on "
        f"{scored} of {first['lines'][0]['scored_on']}. {ROUNDED}",
        "The paper says that encoder-decoder attention depends much more on having many heads: performance falls much "
        "faster when heads of A are pruned (section 5). It gives no numbers for this figure.",
        *precision_note(first),
    )
    table = Table(f"Figure 4: heads of each kind of attention pruned alone, {subject_of(first)}", columns, rows, notes)
    return Shown(table, {"": kinds_figure({name: by_kind[letter] for letter, name in _KINDS.items()})})


def figure5(records: Records) -> Shown:
    """In order of I_h at each epoch; the order of the heads against that of the last epoch."""
    trainings = _by_training(records["curve"])
    rows = [
        row
        for name, of_epochs in trainings.items()
        for row in _of_training(name, of_epochs, list(of_epochs.values())[-1])
    ]
    first = records["curve"][0]
    columns = (
        Column("model"),
        Column("epoch"),
        *(Column(f"{share}%", number(4)) for share in (0, *_SHARES)),
        Column("up to, %", number(0)),
        Column("rank r with last", number(2)),
        Column("95% interval", INTERVAL),
    )
    theirs = published()["figure5"]
    shown = ", ".join(f"{bleu} after {epoch}" for epoch, bleu in zip(theirs["epoch"], theirs["bleu"], strict=True))
    notes = (
        f"0% to {_SHARES[-1]}%: {metric_name(first)} without these shares of the heads, lowest score first. "
        f"Up to: the share that can go before {100 * NOTICEABLE:g} point is lost; empty where a model has not learned "
        "anything yet, so that it is no better than one without heads. Rank r: Spearman's, of the scores of all "
        f"heads with those after the last epoch. {ROUNDED}",
        f"Published: a translation model (IWSLT German to English, 6 layers of 8 heads), with BLEU {shown} epochs. The "
        "paper finds that which heads matter is settled early, but not at once.",
        *precision_note(first),
    )
    names = " and ".join(dict.fromkeys(record["task"] for record in records["curve"]))
    table = Table(f"Figure 5: how far one can prune, epoch by epoch, {names}", columns, tuple(rows), notes)
    return Shown(table, {"": epochs_figure(trainings)})


def _by_training(records: Sequence[Record]) -> Mapping[str, Mapping[int, Record]]:
    """Model -> epoch -> record, from names such as `my-model/epoch-3`."""
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        model, _, epoch = record["model"]["name"].rpartition("/epoch-")
        found.setdefault(model, {})[int(epoch)] = record
    return found


def _of_training(name: str, of_epochs: Mapping[int, Record], last: Record) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for epoch, record in of_epochs.items():
        line = record["lines"][0]
        values = values_of(line, splits(record)[0])
        rank = correlate(_scores(record), _scores(last))["spearman"]
        interval = None if record is last or rank["low"] is None else (rank["low"], rank["high"])
        rows.append(
            (
                name,
                epoch,
                values[0],
                *(values.get(share) for share in _SHARES),
                prunable_percent(record, line) if values[0] > values[100] else None,
                rank["value"],
                interval,
            )
        )
    return rows


def _scores(record: Record) -> np.ndarray:
    return np.concatenate([np.asarray(row, dtype=float) for row in record["lines"][0]["scores"]])


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
        + (", and of translations a Transformer on IWSLT De-En." if any(map(is_translation, records["curve"])) else ".")
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
