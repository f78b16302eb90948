"""What there is: tasks, criteria, model types."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

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
    table = _table("task", "metrics", "what it asks")
    for row in task_rows():
        table.add_row(row["name"], ", ".join(row["metrics"]), row["summary"])
    return table


def criterion_rows() -> dict[str, list[dict[str, str]]]:
    """The three tables of scoring, an object a row."""
    from prune_heads.importance import CRITERIA, ESTIMATORS, NORMALIZERS

    return {
        "criteria": [{"name": name, "summary": row.summary} for name, row in CRITERIA.items()],
        "estimators": [{"name": name, "summary": row.summary} for name, row in ESTIMATORS.items()],
        "normalizations": [{"name": name, "summary": row.summary} for name, row in NORMALIZERS.items()],
    }


def criterion_table() -> RenderableType:
    """The three tables of scoring for the terminal."""
    options = {"criteria": "--criterion", "estimators": "--estimator", "normalizations": "--normalize"}
    parts = []
    for title, rows in criterion_rows().items():
        table = _table(options[title], "what it is")
        for row in rows:
            table.add_row(row["name"], row["summary"])
        parts.append(table)
    return Group(*parts)


def model_rows() -> list[dict[str, str]]:
    """One object a model type: where its heads are."""
    from prune_heads.anatomy import FAMILIES

    return [
        {
            "type": name,
            "blocks": family.pattern.replace(r"(\d+)", "*").replace("\\", ""),
            "W_Q": family.query,
            "W_K": family.key,
            "W_V": family.value,
            "W_O": family.output,
        }
        for name, family in FAMILIES.items()
    ]


def model_table() -> RenderableType:
    """The model types for the terminal, those of one shape together."""
    shapes: dict[tuple[str, ...], list[str]] = {}
    for row in model_rows():
        shapes.setdefault(tuple(value for key, value in row.items() if key != "type"), []).append(row["type"])
    table = _table("types", "attention blocks", "W_Q, W_K, W_V, W_O inside")
    for (blocks, *projections), types in shapes.items():
        table.add_row(", ".join(types), blocks, ", ".join(projections))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, no_wrap=i == 0 and column != "types")
    return table
