"""What the store of predictions holds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.filesize import decimal

from prune_heads.store import Entry, Unfinished
from prune_heads.tables import Form, Page, Table

_WIDTH = 24
_SHOWN = 200  # rows that the terminal shows; it would need seconds for ten thousand, and nobody reads them
_NAMES = ("model", "task", "split")


def stored(entries: Sequence[Entry], jobs: Sequence[Unfinished]) -> tuple[dict[str, Any], Page]:
    """Damaged entries, then the others by what they are of and how many heads are pruned; unfinished jobs; totals."""

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        names, heads = [str(row["about"].get(name, "")) for name in _NAMES], row["heads_pruned"]
        return row["damaged"] is None, names, row["dtype"] or "", _n_heads(heads), heads, row["digest"]

    rows = sorted(map(asdict, entries), key=order)
    n_bytes = sum(entry.n_bytes for entry in entries) + sum(job.n_bytes for job in jobs)
    total = f"{_entries(len(rows))}, {decimal(n_bytes)}"
    parts: list[Table | str] = []
    if rows:
        parts.append(Table.of("", map(_entry, rows[:_SHOWN]), {"size": Form(decimal)}))
    if (n_more := len(rows) - _SHOWN) > 0:
        parts.append(f"and {_entries(n_more, 'more ')}; --json lists all")
    if jobs:
        parts.append(Table.of("", map(_job, jobs), {"size": Form(decimal)}))
        total += f", {len(jobs):,} unfinished job{'s' * (len(jobs) > 1)} included"
    report = {"n_entries": len(rows), "n_bytes": n_bytes, "entries": rows, "unfinished": list(map(asdict, jobs))}
    return report, Page("", (*parts, total))


def verified(entries: Sequence[Entry]) -> tuple[dict[str, Any], Table | str]:
    """How many entries there are, and those that are damaged."""
    damaged = [asdict(entry) for entry in entries if entry.damaged]
    table = Table.of("", ({"damaged entry": row["name"], "what is wrong": row["damaged"]} for row in damaged))
    return {"n_entries": len(entries), "damaged": damaged}, table if damaged else f"{_entries(len(entries))}, all sound"


def cleared(n_entries: int, n_bytes: int) -> tuple[dict[str, Any], str]:
    """What was removed."""
    return {"n_entries": n_entries, "n_bytes": n_bytes}, f"removed {_entries(n_entries)}, {decimal(n_bytes)}"


def _n_heads(descriptors: Sequence[str]) -> int:
    return sum(text.count(",") + 1 for text in descriptors)


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of the heads `3:1,5 7:2`, `none`, or the first few and how many in all."""
    heads = " ".join(row["heads_pruned"]) or "none"
    if len(heads) > _WIDTH:
        heads = f"{heads[: _WIDTH - 10]}... ({_n_heads(row['heads_pruned'])})"
    found = {name: str(row["about"].get(name, "")) for name in _NAMES} | {"heads pruned": heads, "dtype": row["dtype"]}
    if row["damaged"]:
        found = {"model": row["digest"][:12], "task": "", "split": "", "heads pruned": "damaged", "dtype": ""}
    return found | {"examples": None if row["damaged"] else row["n_examples"], "size": row["n_bytes"]}


def _job(one: Unfinished) -> dict[str, Any]:
    """The words and numbers of a job; its lists are for the machine."""
    what = "unknown: its manifest cannot be read"
    if (job := one.job) is not None:
        what = ", ".join(f"{key} {str(job[key])[:16]}" for key in sorted(job) if isinstance(job[key], str | int))
    return {"unfinished job": one.name[:12], "what it is": what, "steps done": one.n_steps, "size": one.n_bytes}


def _entries(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}{'entry' if number == 1 else 'entries'}"
