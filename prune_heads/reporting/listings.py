"""What can be read without running anything: tasks, criteria, model types, what a model costs, what scripts rely on."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding

from prune_heads.objectives import METRIC_NAMES, TASKS
from prune_heads.tables import Cell, Table, columns
from prune_heads.tables.terminal import line, spans, titled


def task_rows() -> list[dict[str, Any]]:
    """One object a task."""
    return [
        {
            "name": spec.name,
            "labels": list(spec.labels) if spec.labels else None,
            "metrics": list(METRIC_NAMES[spec.metric]),
            "score_split": spec.score_split,
            "eval_splits": list(spec.eval_splits),
            "summary": spec.summary,
        }
        for spec in TASKS.values()
    ]


def task_table() -> RenderableType:
    """The tasks for the terminal."""
    rows = ((row["name"], ", ".join(row["metrics"]), row["summary"]) for row in task_rows())
    return Table("", columns(["task", "metrics", "what it asks"]), tuple(rows))


def criterion_rows() -> dict[str, list[dict[str, str]]]:
    """The three tables of scoring, an object a row."""
    from prune_heads.importance import CRITERIA, ESTIMATORS, NORMALIZERS

    tables: dict[str, Any] = {"criteria": CRITERIA, "estimators": ESTIMATORS, "normalizations": NORMALIZERS}
    return {
        title: [{"name": name, "summary": row.summary} for name, row in rows.items()] for title, rows in tables.items()
    }


def criterion_table() -> RenderableType:
    """The three tables of scoring for the terminal."""
    tables = zip(("--criterion", "--estimator", "--normalize"), criterion_rows().values(), strict=True)
    found = ([{option: row["name"], "what it is": row["summary"]} for row in rows] for option, rows in tables)
    return Group(*(Table.of("", rows) for rows in found))


def model_table(table: Mapping[str, Any]) -> RenderableType:
    """The model types for the terminal: what all can do in one line, then those that cannot do everything."""
    rows = table["models"]
    whole = [row["type"] for row in rows if row["gate"] and row["zero"] and row["remove"]]
    partly = [
        (row["type"], *("yes" if row[name] else "no" for name in ("gate", "zero", "remove")), row["reason"])
        for row in rows
        if row["type"] not in whole
    ]
    refused = [(row["type"], switch, why) for row in rows for switch, why in row["refused"].items()]
    beside = [(row["type"], ", ".join(row["mixers"])) for row in rows if row["mixers"]]
    counts = ", ".join(f"{name} {sum(row[name] for row in rows)}" for name in ("gate", "zero", "remove"))
    return Group(
        line(f"{len(rows)} types, tried with transformers {table['transformers']}: {counts}\n"),
        line(f"gate, zero and remove are exact ({len(whole)}): {', '.join(whole)}"),
        Table("", columns(["type", "gate", "zero", "remove", "reason"]), tuple(partly)),
        line("exact but for these variants; --json lists all that were tried:"),
        Table("", columns(["type", "with", "refused"]), tuple(refused)),
        line("heads are not all of the attention, or not all that mixes tokens:"),
        Table("", columns(["type", "tokens also see each other in"]), tuple(beside)),
    )


def info_table(report: Mapping[str, Any]) -> RenderableType:
    """What a model costs, as `budget` says; runs of layers with the same numbers share a row."""
    removed = report["n_heads"] - report["n_heads_left"]
    title = f"{report['model']}: {removed} of {report['n_heads']} heads removed; {report['n_tokens']} tokens"
    rows = []
    for (stack, kind, *counts), run in groupby(
        report["blocks"], key=itemgetter("stack", "kind", "n_heads", "n_heads_left")
    ):
        first, *others = (block["layer"] for block in run)
        layers = f"{first} to {others[-1]}" if others else str(first)
        rows.append((f"{stack}{' to encoder' if kind == 'cross' else ''} {layers}", *map(str, counts)))
    parts: list[RenderableType] = [Table(title, columns(["layers"], ["heads", "left"]), tuple(rows))]
    parts += [line(""), _counts("parameters", report["parameters"])]
    if report["multiply_adds"]["before"] is not None:
        what = "multiply-adds, at least" if report["lower_bound"] else "multiply-adds"
        these: list[str | tuple[str, str]] = [(f"{report['speedup']:.2f}x", "bold"), " without these heads, "]
        most = f"{report['speedup_without_heads']:.2f}x without any head"
        parts += [line(""), _counts(what, report["multiply_adds"])]
        parts += [line(""), spans("highest speed-up: ", *(these if report["heads_removed"] else []), most)]
    notes = [line(f"note: {note}", style="yellow") for note in report["notes"]]
    return Group(*parts, *([line("")] if notes else []), *notes)


def _counts(title: str, counts: Mapping[str, Mapping[str, int]]) -> Table:
    rows = []
    for name in counts["before"]:
        cells = (name.replace("_", "-"), *(f"{counts[stage][name]:,}" for stage in counts))
        rows.append(tuple(Cell(text, style="bold" if name == "total" else "") for text in cells))
    return Table("", columns([title], ["before", "after", "no heads"]), tuple(rows))


def doctor_table(report: Mapping[str, Any]) -> RenderableType:
    """What scripts rely on and transformers 5 no longer has: by file, what to write instead, and how many, last."""
    findings, unreadable = report["findings"], report["unreadable"]
    parts: list[RenderableType] = []
    if findings:
        parts.append(titled("what transformers 5 does"))
        width = max(len(row["use"]) for row in findings)
        for file, rows in groupby(findings, key=itemgetter("file")):
            cells = ((f"{_place(row):>6}", f"{row['use']:<{width}}", row["effect"]) for row in rows)
            parts += [line(file), Table("", columns(["", "", ""]), tuple(cells))]
        texts: dict[str, dict[str, None]] = {}  # each once, under all uses that it is for
        for row in findings:
            texts.setdefault(row["instead"], {})[row["use"]] = None
        parts += [line(""), titled("what to write instead")]
        parts += [*_indented((", ".join(of), text) for text, of in texts.items()), line("")]
    if unreadable:
        places = (file["file"] + ("" if file["cell"] is None else f" cell {file['cell']}") for file in unreadable)
        parts.append(titled("mention it, but cannot be read"))
        parts += [*_indented(zip(places, (file["reason"] for file in unreadable), strict=True)), line("")]
    n_files = _count(report["n_files"], "file")
    n_with, n_broken = (len({row["file"] for row in rows}) for rows in (findings, unreadable))
    summary = f"{_count(len(findings), 'use')} in {n_with} of {n_files}" if findings else f"nothing in {n_files}"
    if n_broken:
        summary += f"; {_count(n_broken, 'file')} cannot be read in whole"
    return Group(*parts, line(summary))


def _place(row: Mapping[str, Any]) -> str:
    return str(row["line"]) if row["cell"] is None else f"cell {row['cell']}:{row['line']}"


def _indented(rows: Iterable[tuple[str, str]]) -> Iterator[RenderableType]:
    """What it is about, and below it what there is to say."""
    for about, text in rows:
        yield line(about)
        yield Padding.indent(line(text), 4)


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"
