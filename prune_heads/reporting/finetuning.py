"""What `prune-heads finetune` prints and keeps."""

from collections.abc import Mapping
from typing import Any

from prune_heads.tables import Table, columns


def finetuning_table(record: Mapping[str, Any]) -> Table:
    """The mean training loss and the metrics of each epoch."""
    epochs = record["epochs"]
    measured = [(split, metric) for split, values in epochs[-1]["metrics"].items() for metric in values]
    several = len({split for split, _ in measured}) > 1
    names = [f"{metric} ({split})" if several else metric for split, metric in measured]
    heading = ["epoch", "step", "loss", *(name.replace("_", " ") for name in names)]
    rows = [
        (
            str(epoch["epoch"]),
            str(epoch["step"]),
            f"{epoch['loss']:.4f}",
            *(f"{epoch['metrics'][split][metric]:.4f}" for split, metric in measured),
        )
        for epoch in epochs
    ]
    return Table(_title(record), columns(right=heading), tuple(rows))


def _title(record: Mapping[str, Any]) -> str:
    trained_on, *measured_on = record["data"]
    measured = ", ".join(f"{data['n_examples']} of {data['split']}" for data in measured_on)
    return (
        f"{record['model']['name']} fine-tuned on {record['task']}: {trained_on['n_examples']} examples of "
        f"{trained_on['split']}, measured on {measured}"
    )
