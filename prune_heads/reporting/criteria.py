"""What every form of the curves of several criteria shares: names of lines, rows of tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from prune_heads.reporting.layout import metric_name


def splits(record: Mapping[str, Any]) -> list[str]:
    """The splits of the curves, in the record's order."""
    return list(dict.fromkeys(point["split"] for line in record["lines"] for point in line["points"]))


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


def heading(record: Mapping[str, Any], split: str) -> tuple[str, ...]:
    """Names of the columns of `rows`."""
    return ("pruned", "heads", *(label(line, split) for line in record["lines"]))


def rows(record: Mapping[str, Any], split: str) -> list[tuple[str, ...]]:
    """One row a share of heads pruned, one column a line, the headline metric in the cells; the area last.

    A line that has no point at a share leaves its cell empty.
    """
    lines = [{point["percent"]: point for point in points_of(line, split)} for line in record["lines"]]
    found = []
    for percent in sorted({percent for line in lines for percent in line}):
        n_pruned = next(line[percent]["n_pruned"] for line in lines if percent in line)
        values = (f"{line[percent]['value']:.4f}" if percent in line else "" for line in lines)
        found.append((f"{percent:g}%", str(n_pruned), *values))
    areas = (line["areas"].get(split) for line in record["lines"])
    return [*found, ("area", "", *("" if area is None else f"{area:.4f}" for area in areas))]


def title(record: Mapping[str, Any]) -> str:
    """Whose curves they are."""
    metric = metric_name(record)
    return f"{record['model']['name']} on {record['task']}: {metric} by {pruned(record)}, lowest score first"


def pruned(record: Mapping[str, Any]) -> str:
    """What the share is of: `heads pruned`, or `heads of blocks E pruned` where only these go."""
    blocks = record.get("configuration", {}).get("blocks")
    if blocks is None:
        return "heads pruned"
    noun = "block" if len(blocks) == 1 and not blocks[0].isalpha() else "blocks"
    return f"heads of {noun} {', '.join(blocks)} pruned"


def notes(record: Mapping[str, Any]) -> str:
    """What a column of several draws and the last row are."""
    mean = "; mean of several draws" if any(line["n_draws"] > 1 for line in record["lines"]) else ""
    return (
        f"shares are rounded down to whole heads; area: under the curve, over the share pruned, 0 to 1{mean}"
    )


CORRELATION_HEADING = ("scores", "heads", "Pearson r (95% interval)", "Spearman (95% interval)")


def correlation_rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """How the scores of each two criteria agree: one row a pair, one string a column of `CORRELATION_HEADING`."""
    return [
        (
            f"{pair['first']} and {pair['second']}",
            str(pair["n_heads"]),
            _estimate(pair["pearson"]),
            _estimate(pair["spearman"]),
        )
        for pair in record["correlations"]
    ]


def _estimate(found: Mapping[str, float | None]) -> str:
    """Undefined of fewer than four heads, or where one criterion scores all alike."""
    if found["value"] is None:
        return "undefined"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
