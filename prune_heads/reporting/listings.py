"""What there is: tasks, criteria, model types."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.tables import Table, columns
from prune_heads.tables.terminal import line
from prune_heads.tasks.spec import METRIC_NAMES, TASKS


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
    return Group(
        *(
            Table("", columns([option, "what it is"]), tuple(tuple(row.values()) for row in rows))
            for option, rows in tables
        )
    )


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
