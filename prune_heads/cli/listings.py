"""`prune-heads tasks`, `criteria`, `models`: what there is."""

from prune_heads.cli.options import Json
from prune_heads.cli.output import show


def tasks(as_json: Json = False) -> None:
    """List the tasks, their labels, metrics and splits."""
    from prune_heads.reporting.listings import task_rows, task_table

    show({"tasks": task_rows()}, task_table(), as_json=as_json)


def criteria(as_json: Json = False) -> None:
    """List the criteria of importance, the estimators and the normalisations."""
    from prune_heads.reporting.listings import criterion_rows, criterion_table

    show(criterion_rows(), criterion_table(), as_json=as_json)


def models(as_json: Json = False) -> None:
    """List the model types whose heads can be found."""
    from prune_heads.reporting.listings import model_rows, model_table

    show({"models": model_rows()}, model_table(), as_json=as_json)
