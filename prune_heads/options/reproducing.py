"""How the paper's tables and figures are reproduced."""

from dataclasses import dataclass
from pathlib import Path

from prune_heads.options.choices import Form
from prune_heads.options.fields import Group, option
from prune_heads.options.heads import CRITERION, criterion_name
from prune_heads.options.places import of_file


@dataclass(frozen=True)
class Conditions(Group):
    """How a model on a task is studied; each study records its own part."""

    seed: int = option("Seed of random choices and of the bootstrap.", "content", low=0, default=0)
    steps: int = option("Number of steps of a curve.", "content", low=1, default=10)
    score_examples: int | None = option(
        "Number of training examples that heads are scored on. (default: all)", "content", low=1
    )
    choose_examples: int | None = option(
        "Number of training examples that table 6 chooses heads on. (default: 5000)", "content", low=1
    )
    """None for as many as the paper, but no more than of any split."""
    criterion: tuple[str, ...] = option(
        "Criterion that figure 3 compares; repeatable. (default: gradient, ablation)",
        "content",
        read=criterion_name,
        is_many=True,
        is_path=of_file,
        metavar=CRITERION,
        default=("gradient", "ablation"),
    )
    runs: int = option("Number of timed runs of each model.", "content", low=6, default=6)


@dataclass(frozen=True)
class Reproducing(Group):
    """Where a reproduction is kept, and how it is run."""

    jobs: int = option(
        "Number of models that are fine-tuned and studied at once, each in a process.",
        "nothing",
        low=1,
        default=1,
    )
    output: Path = option(
        "Folder for tables, figures and records.", "nothing", short="-o", default=Path("michel2019")
    )
    from_records: bool = option(
        "Write the tables and figures again, from the records alone.", "nothing", default=False
    )
    form: tuple[Form, ...] = option(
        "Format of the files; repeatable. (default: md, png)", "nothing", default=("md", "png")
    )
