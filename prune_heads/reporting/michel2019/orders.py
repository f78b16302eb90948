"""Figures 3 and 6: how far one can prune, lowest score first."""

from collections.abc import Mapping
from typing import Any

from prune_heads.paper import published
from prune_heads.reporting.criteria import label, points_of, splits
from prune_heads.reporting.figures import criteria_figure, subjects_figure
from prune_heads.reporting.michel2019.shown import Record, Records, Shown, precision_note, subject_of
from prune_heads.reporting.sheet import Sheet, as_text, with_digits

NOTICEABLE = 0.01
"""A loss of this much of the metric counts as noticeable; the paper does not say what it means by the word."""

_FOUR = with_digits(4)
_NEAR_PERCENT = 1.5
"""Within which a point of the replication, which has 144 heads in steps of 5%, stands for one of ours."""


def figure3(records: Records) -> Shown:
    """In order of I_h, and of the differences that each head makes alone."""
    (record,) = records["orders"]
    split = splits(record)[0]
    lines = [
        (label(line, split), {point["percent"]: point["value"] for point in points_of(line, split)})
        for line in record["lines"]
    ]
    others = {name: _replicated(f"{record['task']}_{name}") for name in ("gradient", "oracle")}
    rows: list[tuple[Any, ...]] = [
        (
            f"{percent:g}%",
            *(values.get(percent) for _, values in lines),
            *(_near(curve, percent) for curve in others.values()),
        )
        for percent in sorted({percent for _, values in lines for percent in values})
    ]
    columns = (
        ("heads pruned", as_text),
        *((name, _FOUR) for name, _ in lines),
        *((f"replication: {name}", _FOUR) for name in others),
    )
    theirs = published()["figure3"]["no_noticeable_loss_up_to_percent"]["bert"]
    ours = prunable_percent(record, record["lines"][0])
    notes = (
        f"Without a loss of {100 * NOTICEABLE:g} point: up to {ours:g}% here, in the order of {lines[0][0]}; the paper "
        f"says no noticeable loss up to {theirs}% of bert-base-uncased. The replication ran the authors' code on it.",
        *precision_note(record),
    )
    sheet = Sheet(f"Figure 3: how far one can prune, {subject_of(record)}", columns, tuple(rows), notes)
    return Shown(sheet, {"": criteria_figure(record)})


def figure6(records: Records) -> Shown:
    """In order of I_h, on several tasks."""
    theirs = published()["figure6"]["no_noticeable_loss_up_to_percent"]
    rows = [
        (
            record["task"],
            record["model"]["name"],
            record["headline"].replace("_", " "),
            points_of(record["lines"][0], splits(record)[0])[0]["value"],
            theirs.get(record["task"]),
            prunable_percent(record, record["lines"][0]),
        )
        for record in records["curve"]
    ]
    columns = (
        ("task", as_text),
        ("model", as_text),
        ("metric", as_text),
        ("whole", _FOUR),
        ("published: up to, %", as_text),
        ("here: up to, %", with_digits(0)),
    )
    notes = (
        f"Heads that can go, lowest score first, in steps of 10%, before {100 * NOTICEABLE:g} point of the metric is "
        "lost; what the paper calls a noticeable loss it does not define. Published: bert-base-uncased.",
    )
    sheet = Sheet("Figure 6: how far one can prune on other tasks", columns, tuple(rows), notes)
    return Shown(sheet, {"": subjects_figure(records["curve"])})


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
