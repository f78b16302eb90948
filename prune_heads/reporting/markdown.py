"""A run's tables in Markdown, from its record."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prune_heads.reporting.rows import curve_rows, share


def run_markdown(record: Mapping[str, Any]) -> str:
    """The metrics before and after, and the curve if there is one."""
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
    parts = [f"# {record['model']['name']} on {record['task']}: {share(record)}", _table(heading, rows)]
    if record["curve"]:
        parts += [f"## {record['headline']} by heads pruned, lowest score first", _table(*curve_rows(record))]
    parts.append(f"Heads pruned (layer:heads, from 1): {' '.join(record['heads_pruned']) or 'none'}")
    return "\n\n".join(parts) + "\n"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
