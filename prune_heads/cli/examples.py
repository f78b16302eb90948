"""Two examples of every command: the first thing that its `--help` shows."""

import inspect

from typer import Typer

EXAMPLES = (
    "prune-heads run",
    "prune-heads run --model MODEL --task sst2 --fraction 0.3 -o runs/sst2",
    "prune-heads score --model MODEL --task sst2",
    "prune-heads score --model MODEL --task sst2 --criterion ablation -o scores",
    "prune-heads prune --model MODEL --heads '3:1,5 7:2' -o pruned",
    "prune-heads prune --model MODEL --scores scores.json --fraction 0.5 -o half",
    "prune-heads evaluate --model MODEL --task sst2",
    "prune-heads evaluate --model MODEL --task sst2 --heads '3:1,5 7:2'",
    "prune-heads export pruned/checkpoint --to dense -o dense",
    "prune-heads export pruned/checkpoint --to onnx -o onnx",
    "prune-heads info MODEL",
    "prune-heads info MODEL --heads '3:1,5 7:2' --length 64",
    "prune-heads ablate --model MODEL --task sst2 -o without-one",
    "prune-heads ablate --model MODEL --task sst2 --kind only-one",
    "prune-heads curve --model MODEL --task sst2 --criterion gradient -o curve",
    "prune-heads curve --model MODEL --task sst2 --steps 5 --draws 10",
    "prune-heads correlate without-one scores",
    "prune-heads correlate sst2/scores.json mnli/scores.json -o agreement",
    "prune-heads finetune --task sst2 -o my-model",
    "prune-heads finetune --model MODEL --train-file train.csv --epochs 5 -o mine",
    "prune-heads reproduce table3 --model MODEL --task sst2",
    "prune-heads reproduce all --config experiments/michel2019 -o michel2019",
    "prune-heads tasks",
    "prune-heads tasks --json",
    "prune-heads criteria",
    "prune-heads criteria --json",
    "prune-heads models",
    "prune-heads models --try",
    "prune-heads train-mini --task mini-inference -o mini",
    "prune-heads train-mini --task mini-sentiment --seed 1 -o mini-1",
    "prune-heads bench",
    "prune-heads bench --model MODEL --task sst2 --fraction 0.5",
    "prune-heads doctor my_script.py",
    "prune-heads doctor my_project --json",
    "prune-heads guide",
    "prune-heads guide start",
    "prune-heads store list",
    "prune-heads store list --store s3://bucket/predictions",
    "prune-heads store verify",
    "prune-heads store verify --json",
    "prune-heads store clear --damaged",
    "prune-heads store clear --store my-store",
    "prune-heads sweep run sweep.toml --dry-run",
    "prune-heads sweep run sweep.toml -o sweeps/mine --jobs 2",
    "prune-heads sweep status sweeps/mine",
    "prune-heads sweep status sweeps/mine --json",
    "prune-heads sweep results sweeps/mine",
    "prune-heads sweep results sweeps/mine -o tables",
    "prune-heads sweep plot sweeps/mine",
    "prune-heads sweep plot sweeps/mine -o figures",
    "prune-heads sweep retry sweeps/mine",
    "prune-heads sweep retry sweeps/mine --json",
)


def examples_of(words: str) -> list[str]:
    """Those of the command that these words call."""
    return [example for example in EXAMPLES if f"{example} ".startswith(f"prune-heads {words} ")]


def add_examples(app: Typer, parent: str = "") -> None:
    """Put the examples of each command behind the first paragraph of its help."""
    for info in app.registered_commands:
        name = info.name or info.callback.__name__.replace("_", "-")  # type: ignore[union-attr]
        first, *rest = inspect.cleandoc(info.help or inspect.getdoc(info.callback) or "").split("\n\n")
        prose = [" ".join(paragraph.split("\n")) for paragraph in rest]
        info.help = "\n\n".join([first, "\n".join(examples_of(f"{parent}{name}")), *prose])
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{parent}{group.name} ")
