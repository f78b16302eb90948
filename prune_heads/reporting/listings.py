"""What can be read without running anything: tasks, criteria, model types, what a model costs, what scripts rely on."""

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from prune_heads.objectives import METRIC_NAMES, TASKS
from prune_heads.tables import Form, Page, Table

_WAYS = ("gate", "zero", "remove")


def task_listing() -> tuple[dict[str, Any], Table]:
    """An object a task, and the table for the terminal."""
    rows: list[dict[str, Any]] = [
        {"name": spec.name, "labels": list(spec.labels) if spec.labels else None}
        | {"metrics": list(METRIC_NAMES[spec.metric]), "score_split": spec.score_split}
        | {"eval_splits": list(spec.eval_splits), "summary": spec.summary}
        for spec in TASKS.values()
    ]
    shown = (
        {"task": row["name"], "metrics": ", ".join(row["metrics"]), "what it asks": row["summary"]} for row in rows
    )
    return {"tasks": rows}, Table.of("", shown)


def criterion_listing() -> tuple[dict[str, Any], Page]:
    """The three tables of scoring, an object a row, and for the terminal."""
    from prune_heads.importance import CRITERIA, ESTIMATORS, NORMALIZERS

    report, shown = {}, []
    tables: dict[str, Any] = {"criterion": CRITERIA, "estimator": ESTIMATORS, "normalize": NORMALIZERS}
    for title, (option, rows) in zip(("criteria", "estimators", "normalizations"), tables.items(), strict=True):
        report[title] = [{"name": name, "summary": row.summary} for name, row in rows.items()]
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
    beside = (
        {"type": row["type"], "tokens also see each other in": ", ".join(row["mixers"])}
        for row in rows
        if row["mixers"]
    )
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


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"
