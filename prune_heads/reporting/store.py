"""What the store of predictions holds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.filesize import decimal

from prune_heads.store import Entry, Unfinished
from prune_heads.tables import Table, columns
from prune_heads.tables.terminal import line

_WIDTH = 24
_SHOWN = 200
"""Rows that the terminal shows; it would need seconds for ten thousand, and nobody reads them."""


def store_report(entries: Sequence[Entry], jobs: Sequence[Unfinished]) -> dict[str, Any]:
    """Entries by what they are of, then by how many heads are pruned; unfinished jobs; totals."""
    rows = sorted((_row(entry) for entry in entries), key=_order)
    return {
        "n_entries": len(rows),
        "n_bytes": sum(row["n_bytes"] for row in rows) + sum(job.n_bytes for job in jobs),
        "entries": rows,
        "unfinished": [asdict(job) for job in jobs],
    }


def store_table(report: Mapping[str, Any]) -> RenderableType:
    """The same for the terminal."""
    n_jobs = len(report["unfinished"])
    total = f"{_count(report['n_entries'], 'entry', 'entries')}, {decimal(report['n_bytes'])}"
    parts: list[RenderableType] = []
    if report["entries"]:
        heading = columns(["model", "task", "split", "heads pruned", "dtype"], ["examples", "size"])
        parts.append(Table("", heading, tuple(map(_entry, report["entries"][:_SHOWN]))))
    if (n_more := report["n_entries"] - _SHOWN) > 0:
        parts.append(line(f"and {_count(n_more, 'more entry', 'more entries')}; --json lists all\n"))
    if n_jobs:
        heading = columns(["unfinished job", "what it is"], ["steps done", "size"])
        parts.append(Table("", heading, tuple(map(_job, report["unfinished"]))))
        total += f", {_count(n_jobs, 'unfinished job', 'unfinished jobs')} included"
    return Group(*parts, line(total))


def verify_report(entries: Sequence[Entry]) -> dict[str, Any]:
    """How many entries there are, and those that are damaged."""
    return {"n_entries": len(entries), "damaged": [_row(entry) for entry in entries if entry.damaged]}


def verify_table(report: Mapping[str, Any]) -> RenderableType:
    """The damaged entries for the terminal, or that there are none."""
    if not report["damaged"]:
        return line(f"{_count(report['n_entries'], 'entry', 'entries')}, all sound")
    rows = ((row["name"], row["damaged"]) for row in report["damaged"])
    return Table("", columns(["damaged entry", "what is wrong"]), tuple(rows))


def cleared(n_entries: int, n_bytes: int) -> RenderableType:
    """What was removed."""
    return line(f"removed {_count(n_entries, 'entry', 'entries')}, {decimal(n_bytes)}")


def _row(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "about": dict(entry.about), "heads_pruned": list(entry.heads_pruned)}


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    about, heads = row["about"], row["heads_pruned"]
    names = tuple(str(about.get(name, "")) for name in ("model", "task", "split"))
    return (row["damaged"] is None, *names, row["dtype"] or "", _n_heads(heads), heads, row["digest"])


def _n_heads(descriptors: Sequence[str]) -> int:
    return sum(text.count(",") + 1 for text in descriptors)


def _entry(row: Mapping[str, Any]) -> tuple[str, ...]:
    size = decimal(row["n_bytes"])
    if row["damaged"]:
        return row["digest"][:12], "", "", "damaged", "", "", size
    names = (str(row["about"].get(name, "")) for name in ("model", "task", "split"))
    return *names, _heads(row["heads_pruned"]), row["dtype"], str(row["n_examples"]), size


def _heads(descriptors: Sequence[str]) -> str:
    """`3:1,5 7:2`, `none`, or the first few and how many in all."""
    text = " ".join(descriptors) or "none"
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 10]}... ({_n_heads(descriptors)})"


def _job(job: Mapping[str, Any]) -> tuple[str, ...]:
    what = "unknown: its manifest cannot be read" if job["job"] is None else _described(job["job"])
    return job["name"][:12], what, str(job["n_steps"]), decimal(job["n_bytes"])


def _described(job: Mapping[str, Any]) -> str:
    """The words and numbers of a job; its lists are for the machine."""
    return ", ".join(f"{name} {str(value)[:16]}" for name, value in sorted(job.items()) if isinstance(value, str | int))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
