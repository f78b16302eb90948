"""A run's tables in Markdown, from its record."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def run_markdown(record: Mapping[str, Any]) -> str:
    """The metrics before and after, and the curve if there is one."""
    verb = "removed" if record["mode"] == "remove" else "zeroed"
    share = f"{record['n_pruned']} of {record['n_heads']} heads {verb}"
    rows = [
        (
            row["split"],
            row["metric"],
            str(row["n_examples"]),
            f"{row['base']:.4f}",
            f"{row['pruned']:.4f}",
            f"{row['difference']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
        )
        for row in record["rows"]
    ]
    heading = ("split", "metric", "examples", "base", "pruned", "difference", "95% interval")
    parts = [f"# {record['model']['name']} on {record['task']}: {share}", _table(heading, rows)]
    if record["curve"]:
        parts += [f"## {record['headline']} by heads pruned, lowest score first", _curve(record)]
    parts.append(f"Heads pruned (layer:heads, from 1): {' '.join(record['heads_pruned']) or 'none'}")
    return "\n\n".join(parts) + "\n"


def _curve(record: Mapping[str, Any]) -> str:
    points, metric = record["curve"], record["headline"]
    splits = list(dict.fromkeys(point["split"] for point in points))
    rows = []
    for percent in dict.fromkeys(point["percent"] for point in points):
        own = {point["split"]: point for point in points if point["percent"] == percent}
        values = [f"{own[split][metric]:.4f}" for split in splits]
        rows.append((f"{percent}%", str(own[splits[0]]["n_pruned"]), *values))
    return _table(("pruned", "heads", *splits), rows)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
