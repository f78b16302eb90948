"""Curves of several criteria, what a record holds of them, and their page; the page of `prune-heads correlate`."""

from collections.abc import Mapping, Sequence
from typing import Any

from prune_heads.reporting.words import interval, metric_name, sentence
from prune_heads.tables import Column, Page, Table, columns, number
from prune_heads.tables.writers import written

_LINE = ("criterion", "estimator", "rescored", "scored_on", "n_draws")
_POINT = ("split", "percent", "n_pruned", "value", "low", "high")


def lines_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The lines of a curve, however it was asked for: by `prune-heads curve`, or by `prune-heads run --curve`."""
    if "lines" in record:
        found: list[Mapping[str, Any]] = record["lines"]
        return found
    points = [{**point, "value": point[record["headline"]]} for point in record["curve"]]
    return [{"points": points}] if points else []


def splits(record: Mapping[str, Any]) -> list[str]:
    """The splits of the curves, in the record's order."""
    return list(dict.fromkeys(point["split"] for line in lines_of(record) for point in line["points"]))


def points_of(line: Mapping[str, Any], split: str) -> list[Mapping[str, Any]]:
    """The points of one line on one split, by share pruned."""
    return sorted((p for p in line["points"] if p["split"] == split), key=lambda p: p["percent"])


def values_of(line: Mapping[str, Any], split: str) -> dict[float, float]:
    """Share pruned, in percent -> the metric of one line on one split, by share."""
    return {point["percent"]: point["value"] for point in points_of(line, split)}


def shares(points: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> list[float]:
    """Where points by share stand on an axis of it, in percent: by the heads that are gone there.

    The percent that was asked for is rounded down to whole heads: 10% of 24 are 2, which stand at 8.3%. With `--blocks`
    the share is of their heads.
    """
    counts = [point["n_pruned"] for point in points]
    beside = counts[0] if record.get("configuration", {}).get("blocks") else 0
    every = record.get("n_heads", counts[-1]) - beside
    return [100 * (n - beside) / max(every, 1) for n in counts]


def label(line: Mapping[str, Any], split: str) -> str:
    """What to call a line on a split, e.g. `gradient (example), re-scored`, `random (20 draws)`.

    Ablations are an oracle on the split that they were measured on; on another one it is said where they were.
    """
    details = [line["estimator"]] if line["estimator"] else []
    if line["criterion"] == "ablation":
        measured = line["scored_on"]
        details.append("oracle" if measured == split else measured.removeprefix("validation_"))
    if line["n_draws"] > 1:
        details.append(f"{line['n_draws']} draws")
    name = line["criterion"] + (f" ({', '.join(details)})" if details else "")
    return f"{name}, re-scored" if line["rescored"] else name


def pruned(record: Mapping[str, Any]) -> str:
    """What the share is of: `heads pruned`, or `heads of blocks E pruned` where only these go."""
    blocks = record.get("configuration", {}).get("blocks")
    if blocks is None:
        return "heads pruned"
    noun = "block" if len(blocks) == 1 and not blocks[0].isalpha() else "blocks"
    return f"heads of {noun} {', '.join(blocks)} pruned"


def curve_page(record: Mapping[str, Any]) -> Page:
    """A table a split of `prune-heads curve`: shares of heads down, criteria across, the area in the last row.

    Below, how the scores of the criteria agree.
    """
    title = f"{record['model']['name']} on {record['task']}: {metric_name(record)} by {pruned(record)}"
    tables = [_table(record, split) for split in splits(record)]
    agreement = [
        (f"{pair['first']} and {pair['second']}", str(pair["n_heads"]), *_estimates(pair))
        for pair in record["correlations"]
    ]
    heading = columns(["scores"], ["heads", "Pearson r (95% interval)", "Spearman (95% interval)"])
    scores = Table("Correlation of the scores before any head goes", heading, tuple(agreement))
    below = [scores] if agreement else []
    return Page(f"{title}, lowest score first", (*tables, sentence(_note(record)), *below))


def correlation_page(report: Mapping[str, Any]) -> Page:
    """The series, numbered from 1; the pairs, by these numbers, with what they stand for in a pair."""
    numbers = {series["name"]: number for number, series in enumerate(report["series"], start=1)}
    series = [
        (str(numbers[each["name"]]), each["name"], each["source"], str(each["n_heads"])) for each in report["series"]
    ]
    pairs = [
        (
            *(f"{numbers[pair[side]]}: {pair[f'{side}_measure']}" for side in ("first", "second")),
            str(pair["n_heads"]),
            interval(pair, "pearson", words=""),
            interval(pair, "spearman", words=""),
        )
        for pair in report["correlations"]
    ]
    of_series = columns(["series", "what", "from"], ["heads"])
    of_pairs = columns(["first", "second"], ["heads", "Pearson r (95%)", "Spearman (95%)"])
    return Page(
        "Correlation of measurements of the same heads",
        (Table("", of_series, tuple(series)), Table("", of_pairs, tuple(pairs), n_keys=2)),
    )


def curve_csv(record: Mapping[str, Any]) -> str:
    """In long form, numbers in full: one row a point; of several draws, `value` is the mean and the interval theirs."""
    rows = [
        (*(line[name] for name in _LINE), *(point[name] for name in _POINT))
        for line in record["lines"]
        for point in line["points"]
    ]
    return written((*_LINE, *_POINT), rows)


def _table(record: Mapping[str, Any], split: str) -> Table:
    """One row a share of heads pruned, one column a line; a line that has no point at a share leaves its cell empty."""
    lines = [{point["percent"]: point for point in points_of(line, split)} for line in record["lines"]]
    rows = []
    for percent in sorted({percent for line in lines for percent in line}):
        there = [line.get(percent) for line in lines]
        n_pruned = next(point["n_pruned"] for point in there if point)
        rows.append((f"{percent:g}%", n_pruned, *(point and point["value"] for point in there)))
    areas = (line["areas"].get(split) for line in record["lines"])
    names = [label(line, split) for line in record["lines"]]
    of_lines = (Column(name, number(4)) for name in names)
    heading = (Column("pruned", align="right"), Column("heads"), *of_lines)
    return Table(split, heading, (*rows, ("area", None, *areas)), n_foot=1)


def _note(record: Mapping[str, Any]) -> str:
    """What a column of several draws and the last row are."""
    mean = "; mean of several draws" if any(line["n_draws"] > 1 for line in record["lines"]) else ""
    return f"shares are rounded down to whole heads; area: under the curve, over the share pruned, 0 to 1{mean}"


def _estimates(pair: Mapping[str, Any]) -> list[str]:
    """Undefined of fewer than four heads, or where one criterion scores all alike."""
    names = ("pearson", "spearman")
    return ["undefined" if pair[name]["value"] is None else interval(pair, name, "") for name in names]
