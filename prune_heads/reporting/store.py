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
_SHOWN = 200  # rows that the terminal shows; it would need seconds for ten thousand, and nobody reads them
_NAMES = ("model", "task", "split")


def stored(entries: Sequence[Entry], jobs: Sequence[Unfinished]) -> tuple[dict[str, Any], RenderableType]:
    """Damaged entries, then the others by what they are of and how many heads are pruned; unfinished jobs; totals."""

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        names, heads = [str(row["about"].get(name, "")) for name in _NAMES], row["heads_pruned"]
        return row["damaged"] is None, names, row["dtype"] or "", _n_heads(heads), heads, row["digest"]

    rows = sorted(map(asdict, entries), key=order)
    n_bytes = sum(entry.n_bytes for entry in entries) + sum(job.n_bytes for job in jobs)
    total = f"{_entries(len(rows))}, {decimal(n_bytes)}"
    parts: list[RenderableType] = []
    if rows:
        heading = columns([*_NAMES, "heads pruned", "dtype"], ["examples", "size"])
        parts.append(Table("", heading, tuple(map(_entry, rows[:_SHOWN]))))
    if (n_more := len(rows) - _SHOWN) > 0:
        parts.append(line(f"and {_entries(n_more, 'more ')}; --json lists all\n"))
    if jobs:
        heading = columns(["unfinished job", "what it is"], ["steps done", "size"])
        parts.append(Table("", heading, tuple(map(_job, jobs))))
        total += f", {len(jobs):,} unfinished job{'s' * (len(jobs) > 1)} included"
    report = {"n_entries": len(rows), "n_bytes": n_bytes, "entries": rows, "unfinished": list(map(asdict, jobs))}
    return report, Group(*parts, line(total))


def verified(entries: Sequence[Entry]) -> tuple[dict[str, Any], Table | str]:
    """How many entries there are, and those that are damaged."""
    damaged = [asdict(entry) for entry in entries if entry.damaged]
    rows = tuple((row["name"], row["damaged"]) for row in damaged)
    table, sound = Table("", columns(["damaged entry", "what is wrong"]), rows), f"{_entries(len(entries))}, all sound"
    return {"n_entries": len(entries), "damaged": damaged}, table if rows else sound


def cleared(n_entries: int, n_bytes: int) -> tuple[dict[str, Any], str]:
    """What was removed."""
    return {"n_entries": n_entries, "n_bytes": n_bytes}, f"removed {_entries(n_entries)}, {decimal(n_bytes)}"


def _n_heads(descriptors: Sequence[str]) -> int:
    return sum(text.count(",") + 1 for text in descriptors)


def _entry(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the heads `3:1,5 7:2`, `none`, or the first few and how many in all."""
    size, heads = decimal(row["n_bytes"]), " ".join(row["heads_pruned"]) or "none"
    if row["damaged"]:
        return row["digest"][:12], "", "", "damaged", "", "", size
    if len(heads) > _WIDTH:
        heads = f"{heads[: _WIDTH - 10]}... ({_n_heads(row['heads_pruned'])})"
    return *(str(row["about"].get(name, "")) for name in _NAMES), heads, row["dtype"], str(row["n_examples"]), size


def _job(one: Unfinished) -> tuple[str, ...]:
    """The words and numbers of a job; its lists are for the machine."""
    what = "unknown: its manifest cannot be read"
    if (job := one.job) is not None:
        what = ", ".join(f"{key} {str(job[key])[:16]}" for key in sorted(job) if isinstance(job[key], str | int))
    return one.name[:12], what, str(one.n_steps), decimal(one.n_bytes)


def _entries(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}{'entry' if number == 1 else 'entries'}"
