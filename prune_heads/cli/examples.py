"""Two examples of every command: the first thing that its `--help` shows."""

import inspect
from collections.abc import Mapping

from typer import Typer

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "run": (
        "prune-heads run",
        "prune-heads run --model MODEL --task sst2 --fraction 0.3 -o runs/sst2",
    ),
    "score": (
        "prune-heads score --model MODEL --task sst2",
        "prune-heads score --model MODEL --task sst2 --criterion ablation -o scores",
    ),
    "prune": (
        "prune-heads prune --model MODEL --heads '3:1,5 7:2' -o pruned",
        "prune-heads prune --model MODEL --scores scores.json --fraction 0.5 -o half",
    ),
    "evaluate": (
        "prune-heads evaluate --model MODEL --task sst2",
        "prune-heads evaluate --model MODEL --task sst2 --heads '3:1,5 7:2'",
    ),
    "export": (
        "prune-heads export pruned/checkpoint --to dense -o dense",
        "prune-heads export pruned/checkpoint --to onnx -o onnx",
    ),
    "info": (
        "prune-heads info MODEL",
        "prune-heads info MODEL --heads '3:1,5 7:2' --length 64",
    ),
    "ablate": (
        "prune-heads ablate --model MODEL --task sst2 -o without-one",
        "prune-heads ablate --model MODEL --task sst2 --kind only-one",
    ),
    "curve": (
        "prune-heads curve --model MODEL --task sst2 --criterion gradient -o curve",
        "prune-heads curve --model MODEL --task sst2 --steps 5 --draws 10",
    ),
    "correlate": (
        "prune-heads correlate without-one scores",
        "prune-heads correlate sst2/scores.json mnli/scores.json -o agreement",
    ),
    "finetune": (
        "prune-heads finetune --task sst2 -o my-model",
        "prune-heads finetune --model MODEL --train-file train.csv --epochs 5 -o mine",
    ),
    "reproduce": (
        "prune-heads reproduce table3 --model MODEL --task sst2",
        "prune-heads reproduce all --config experiments/michel2019 -o michel2019",
    ),
    "tasks": ("prune-heads tasks", "prune-heads tasks --json"),
    "criteria": ("prune-heads criteria", "prune-heads criteria --json"),
    "models": ("prune-heads models", "prune-heads models --try"),
    "train-mini": (
        "prune-heads train-mini --task mini-inference -o mini",
        "prune-heads train-mini --task mini-sentiment --seed 1 -o mini-1",
    ),
    "bench": (
        "prune-heads bench",
        "prune-heads bench --model MODEL --task sst2 --fraction 0.5",
    ),
    "doctor": ("prune-heads doctor my_script.py", "prune-heads doctor my_project --json"),
    "guide": ("prune-heads guide", "prune-heads guide start"),
    "store list": ("prune-heads store list", "prune-heads store list --store s3://bucket/predictions"),
    "store verify": ("prune-heads store verify", "prune-heads store verify --json"),
    "store clear": ("prune-heads store clear --damaged", "prune-heads store clear --store my-store"),
    "sweep run": (
        "prune-heads sweep run sweep.toml --dry-run",
        "prune-heads sweep run sweep.toml -o sweeps/mine --jobs 2",
    ),
    "sweep status": ("prune-heads sweep status sweeps/mine", "prune-heads sweep status sweeps/mine --json"),
    "sweep results": (
        "prune-heads sweep results sweeps/mine",
        "prune-heads sweep results sweeps/mine -o tables",
    ),
    "sweep plot": ("prune-heads sweep plot sweeps/mine", "prune-heads sweep plot sweeps/mine -o figures"),
    "sweep retry": ("prune-heads sweep retry sweeps/mine", "prune-heads sweep retry sweeps/mine --json"),
}
"""By the words that call a command."""


def add_examples(app: Typer, parent: str = "") -> None:
    """Put the examples of each command behind the first paragraph of its help.

    Raises:
        KeyError: If a command has none.
    """
    for info in app.registered_commands:
        first, *rest = inspect.cleandoc(info.help or inspect.getdoc(info.callback) or "").split("\n\n")
        prose = [" ".join(paragraph.split("\n")) for paragraph in rest]
        info.help = "\n\n".join([first, "\n".join(EXAMPLES[f"{parent}{info.name}"]), *prose])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{parent}{group.name} ")
