"""What `prune-heads finetune` prints and keeps: a row an epoch."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.reporting.layout import Grid, titled
from prune_heads.reporting.markdown import document, markdown_table


def finetuning_table(record: Mapping[str, Any]) -> RenderableType:
    """The mean training loss and the metrics of each epoch, for the terminal."""
    heading, rows = _rows(record)
    table = Grid((), heading)
    for row in rows:
        table.add_row(*row)
    return Group(titled(_title(record)), table)


def finetuning_markdown(record: Mapping[str, Any]) -> str:
    """The same in Markdown."""
    return document([f"# {_title(record)}", markdown_table(*_rows(record))])


def _rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A heading, and a row of texts an epoch."""
    epochs = record["epochs"]
    columns = [(split, metric) for split, values in epochs[-1]["metrics"].items() for metric in values]
    several = len({split for split, _ in columns}) > 1
    names = [f"{metric} ({split})" if several else metric for split, metric in columns]
    heading = ["epoch", "step", "loss", *(name.replace("_", " ") for name in names)]
    rows = []
    for epoch in epochs:
        values = [f"{epoch['metrics'][split][metric]:.4f}" for split, metric in columns]
        rows.append([str(epoch["epoch"]), str(epoch["step"]), f"{epoch['loss']:.4f}", *values])
    return heading, rows


def _title(record: Mapping[str, Any]) -> str:
    trained_on, *measured_on = record["data"]
    measured = ", ".join(f"{data['n_examples']} of {data['split']}" for data in measured_on)
    return (
        f"{record['model']['name']} fine-tuned on {record['task']}: {trained_on['n_examples']} examples of "
        f"{trained_on['split']}, measured on {measured}"
    )
