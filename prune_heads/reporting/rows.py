"""What the tables of the terminal and of Markdown share: the same words and cells from one record."""

from collections.abc import Mapping
from typing import Any


def share(record: Mapping[str, Any]) -> str:
    """How many heads are pruned, e.g. `36 of 72 heads zeroed`."""
    verb = "removed" if record["mode"] == "remove" else "zeroed"
    return f"{record['n_pruned']} of {record['n_heads']} heads {verb}"


def curve_rows(record: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heading and one row a point of the curve: percent, heads, and the headline metric of each split."""
    points, metric = record["curve"], record["headline"]
    splits = tuple(dict.fromkeys(point["split"] for point in points))
    rows = []
    for percent in dict.fromkeys(point["percent"] for point in points):
        own = {point["split"]: point for point in points if point["percent"] == percent}
        values = [f"{own[split][metric]:.4f}" for split in splits]
        rows.append((f"{percent}%", str(own[splits[0]]["n_pruned"]), *values))
    return ("pruned", "heads", *splits), rows
