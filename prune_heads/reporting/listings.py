"""What can be read without running anything: tasks, criteria, models and their costs, scripts, what the store holds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal

from prune_heads.objectives import METRIC_NAMES, TASKS
from prune_heads.tables import Form, Page, Table

if TYPE_CHECKING:
    from prune_heads.store import Entry, Unfinished

_WAYS = ("gate", "zero", "remove")
_WIDTH = 24  # characters of a list of heads in a table of the store
_SHOWN = 200  # rows that the terminal shows; it would need seconds for ten thousand, and nobody reads them
_NAMES = ("model", "task", "split")


def task_listing() -> tuple[dict[str, Any], Table]:
    """An object a task, and the table for the terminal."""
    rows: list[dict[str, Any]] = [
        {"name": spec.name, "labels": list(spec.labels) if spec.labels else None}
        | {"metrics": list(METRIC_NAMES[spec.metric]), "score_split": spec.score_split}
        | {"eval_splits": list(spec.eval_splits), "summary": spec.summary}
        for spec in TASKS.values()
    ]
    shown = ({"task": of["name"], "metrics": ", ".join(of["metrics"]), "what it asks": of["summary"]} for of in rows)
    return {"tasks": rows}, Table.of("", shown)


def criterion_listing() -> tuple[dict[str, Any], Page]:
    """The three tables of scoring, an object a row, and for the terminal."""
    from prune_heads.importance import CRITERIA, ESTIMATORS, NORMALIZERS

    report, shown = {}, []
    tables: dict[str, Any] = {"criterion": CRITERIA, "estimator": ESTIMATORS, "normalize": NORMALIZERS}
    for title, (option, rows) in zip(("criteria", "estimators", "normalizations"), tables.items(), strict=True):
        more = ("formula", "paper", "cost", "looks_at", "has_error") if option == "criterion" else ()
        about = {name: {"summary": row.summary} | {k: getattr(row, k) for k in more} for name, row in rows.items()}
        report[title] = [{"name": name, **each} for name, each in about.items()]
        shown.append(Table.of("", ({f"--{option}": name, "what it is": row.summary} for name, row in rows.items())))
    return report, Page("", tuple(shown))


def model_page(table: Mapping[str, Any]) -> Page:
    """The model types for the terminal: what all can do in one line, then those that cannot do everything."""
    rows = table["models"]
    whole = [row["type"] for row in rows if all(row[way] for way in _WAYS)]
    partly = (
        {"type": row["type"]} | {way: "yes" if row[way] else "no" for way in _WAYS} | {"reason": row["reason"]}
        for row in rows
        if row["type"] not in whole
    )
    refused = (
        {"type": row["type"], "with": switch, "refused": why} for row in rows for switch, why in row["refused"].items()
    )
    mixed = ((row["type"], ", ".join(row["mixers"])) for row in rows if row["mixers"])
    beside = ({"type": kind, "tokens also see each other in": mixers} for kind, mixers in mixed)
    counts = ", ".join(f"{way} {sum(row[way] for row in rows)}" for way in _WAYS)
    parts = (
        f"gate, zero and remove are exact ({len(whole)}): {', '.join(whole)}",
        Table.of("", partly),
        "exact but for these variants; --json lists all that were tried:",
        Table.of("", refused),
        "heads are not all of the attention, or not all that mixes tokens:",
        Table.of("", beside),
    )
    return Page(f"{len(rows)} types, tried with transformers {table['transformers']}: {counts}", parts)


def info_page(report: Mapping[str, Any]) -> Page:
    """What a model costs, as `budget` says; runs of layers with the same numbers share a row."""
    removed = report["n_heads"] - report["n_heads_left"]
    title = f"{report['model']}: {removed} of {report['n_heads']} heads removed; {report['n_tokens']} tokens"
    rows = []
    same = itemgetter("stack", "kind", "n_heads", "n_heads_left")
    for (stack, kind, n_heads, left), run in groupby(report["blocks"], key=same):
        first, *others = (block["layer"] for block in run)
        layers = f"{first} to {others[-1]}" if others else str(first)
        name = f"{stack}{' to encoder' if kind == 'cross' else ''} {layers}"
        rows.append({"layers": name, "heads": n_heads, "left": left})
    parts = [Table.of(title, rows), _counts("parameters", report["parameters"])]
    notes = [f"note: {note}" for note in report["notes"]]
    if report["multiply_adds"]["before"] is not None:
        what = "multiply-adds, at least" if report["lower_bound"] else "multiply-adds"
        parts.append(_counts(what, report["multiply_adds"]))
        these = f"{report['speedup']:.2f}x without these heads, " if report["heads_removed"] else ""
        notes.insert(0, f"highest speed-up: {these}{report['speedup_without_heads']:.2f}x without any head")
    return Page("", (*parts, *notes))


def _counts(title: str, counts: Mapping[str, Mapping[str, int]]) -> Table:
    stages = dict(zip(("before", "after", "no heads"), counts.values(), strict=True))
    rows = (
        {title: name.replace("_", "-")} | {stage: of[name] for stage, of in stages.items()} for name in counts["before"]
    )
    return Table.of("", rows, dict.fromkeys(stages, ","), n_foot=1)


def page_summary(made: Mapping[str, Any]) -> Page:
    """Where the page is, what is in it, and what is missing, with the commands that measure it."""
    counts = [_count(made["n_orders"], "order"), *(_count(len(made[name]), name[:-1]) for name in ("columns", "runs"))]
    missing = ({"not in these runs": each["what"], "what measures it": each["how"]} for each in made["missing"])
    summary = f"{made['output']}: {', '.join(counts)}, {made['bytes']:,} bytes. Open it in a browser."
    return Page("", (summary, *([Table.of("", missing)] if made["missing"] else [])))


def doctor_page(report: Mapping[str, Any]) -> Page:
    """What scripts rely on and transformers 5 no longer has: by file, what to write instead, and how many, last."""
    findings, unreadable = report["findings"], report["unreadable"]
    parts, instead = list[Table | str](), dict[str, dict[str, None]]()
    width = max((len(row["use"]) for row in findings), default=0)  # in one column through all files
    for file, rows in groupby(findings, key=itemgetter("file")):
        cells = []
        for row in rows:
            place = str(row["line"]) if row["cell"] is None else f"cell {row['cell']}:{row['line']}"
            cells.append((f"{place:>6}", f"{row['use']:<{width}}", row["effect"]))
            instead.setdefault(row["instead"], {})[row["use"]] = None
        parts.append(Table(file, ("",) * 3, (Form.of(""),) * 3, tuple(cells)))
    below = [
        ({"use": ", ".join(uses), "what to write instead": text} for text, uses in instead.items()),
        ({"mentions it": _cell_of(each), "but cannot be read": each["reason"]} for each in unreadable),
    ]
    parts += [table for table in (Table.of("", rows) for rows in below) if table.rows]
    n_files = _count(report["n_files"], "file")
    n_with, n_broken = (len({row["file"] for row in rows}) for rows in (findings, unreadable))
    summary = f"{_count(len(findings), 'use')} in {n_with} of {n_files}" if findings else f"nothing in {n_files}"
    if n_broken:
        summary += f"; {_count(n_broken, 'file')} cannot be read in whole"
    return Page("what transformers 5 does" if findings else "", (*parts, summary))


def _cell_of(place: Mapping[str, Any]) -> str:
    return place["file"] if place["cell"] is None else f"{place['file']} cell {place['cell']}"


def stored(entries: Sequence["Entry"], jobs: Sequence["Unfinished"]) -> tuple[dict[str, Any], Page]:
    """Damaged entries, then the others by what they are of and how many heads are pruned; unfinished jobs; totals."""

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        names, heads = [str(row["about"].get(name, "")) for name in _NAMES], row["heads_pruned"]
        return row["damaged"] is None, names, row["dtype"] or "", _n_heads(heads), heads, row["digest"]

    rows = sorted(map(asdict, entries), key=order)
    n_bytes = sum(entry.n_bytes for entry in entries) + sum(job.n_bytes for job in jobs)
    total = f"{_count(len(rows), 'entry')}, {decimal(n_bytes)}"
    parts: list[Table | str] = []
    if rows:
        parts.append(Table.of("", map(_entry, rows[:_SHOWN]), {"size": Form(decimal)}))
    if (n_more := len(rows) - _SHOWN) > 0:
        parts.append(f"and {_count(n_more, 'more entry')}; --json lists all")
    if jobs:
        parts.append(Table.of("", map(_job, jobs), {"size": Form(decimal)}))
        total += f", {_count(len(jobs), 'unfinished job')} included"
    report = {"n_entries": len(rows), "n_bytes": n_bytes, "entries": rows, "unfinished": list(map(asdict, jobs))}
    return report, Page("", (*parts, total))


def verified(entries: Sequence["Entry"]) -> tuple[dict[str, Any], Table | str]:
    """How many entries there are, and those that are damaged."""
    damaged = [asdict(entry) for entry in entries if entry.damaged]
    table = Table.of("", ({"damaged entry": row["name"], "what is wrong": row["damaged"]} for row in damaged))
    shown = table if damaged else f"{_count(len(entries), 'entry')}, all sound"
    return {"n_entries": len(entries), "damaged": damaged}, shown


def cleared(n_entries: int, n_bytes: int) -> tuple[dict[str, Any], str]:
    """What was removed."""
    shown = f"removed {_count(n_entries, 'entry')}, {decimal(n_bytes)}"
    return {"n_entries": n_entries, "n_bytes": n_bytes}, shown


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


def _job(one: "Unfinished") -> dict[str, Any]:
    """The words and numbers of a job; its lists are for the machine."""
    what = "unknown: its manifest cannot be read"
    if (job := one.job) is not None:
        what = ", ".join(f"{key} {str(job[key])[:16]}" for key in sorted(job) if isinstance(job[key], str | int))
    return {"unfinished job": one.name[:12], "what it is": what, "steps done": one.n_steps, "size": one.n_bytes}


def _count(number: int, one: str) -> str:
    several = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{number:,} {one if number == 1 else several}"
