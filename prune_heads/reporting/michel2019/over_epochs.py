"""Figure 5: how importance and prunability change in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prune_heads.paper import published
from prune_heads.reporting.curves import splits, values_of
from prune_heads.reporting.figures import epochs_figure
from prune_heads.reporting.michel2019.orders import NOTICEABLE, prunable_percent
from prune_heads.reporting.michel2019.shown import ROUNDED, Record, Records, Shown, precision_note
from prune_heads.reporting.words import metric_name
from prune_heads.statistics import correlate
from prune_heads.tables import INTERVAL, Column, Table, number

_SHARES = (20, 40, 60, 80)
"""Percent of the heads, for the table; the figure has all."""


def figure5(records: Records) -> Shown:
    """In order of I_h at each epoch; the order of the heads against that of the last epoch."""
    trainings = _by_training(records["curve"])
    rows = [
        row
        for name, of_epochs in trainings.items()
        for row in _rows(name, of_epochs, list(of_epochs.values())[-1])
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
    shown = ", ".join(
        f"{bleu} after {epoch}" for epoch, bleu in zip(theirs["epoch"], theirs["bleu"], strict=True)
    )
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


def _rows(name: str, of_epochs: Mapping[int, Record], last: Record) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for epoch, record in of_epochs.items():
        line = record["lines"][0]
        values = values_of(line, splits(record)[0])
        rank = correlate(_scores(record), _scores(last)).spearman
        interval = None if record is last or rank.low is None else (rank.low, rank.high)
        rows.append(
            (
                name,
                epoch,
                values[0],
                *(values.get(share) for share in _SHARES),
                prunable_percent(record, line) if values[0] > values[100] else None,
                rank.value,
                interval,
            )
        )
    return rows


def _scores(record: Record) -> np.ndarray:
    return np.concatenate([np.asarray(row, dtype=float) for row in record["lines"][0]["scores"]])
