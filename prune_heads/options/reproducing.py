"""How the paper's tables and figures are reproduced."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from prune_heads.options.choices import Form
from prune_heads.options.fields import Group, Say
from prune_heads.options.heads import CRITERION, criterion_name
from prune_heads.options.places import of_file


@dataclass(frozen=True)
class Conditions(Group):
    """How a model on a task is studied; each study records its own part."""

    seed: Annotated[int, Say("Seed of random choices and of the bootstrap.", "content", low=0)] = 0
    steps: Annotated[int, Say("Number of steps of a curve.", "content", low=1)] = 10
    score_examples: Annotated[
        int | None,
        Say("Number of training examples that heads are scored on. (default: all)", "content", low=1),
    ] = None
    choose_examples: Annotated[
        int | None,
        Say("Number of training examples that table 6 chooses heads on. (default: 5000)", "content", low=1),
    ] = None
    """None for as many as the paper, but no more than of any split."""
    criterion: Annotated[
        tuple[str, ...],
        Say(
            "Criterion that figure 3 compares; repeatable. (default: gradient, ablation)",
            "content",
            read=criterion_name,
            is_many=True,
            is_path=of_file,
            metavar=CRITERION,
        ),
    ] = ("gradient", "ablation")
    runs: Annotated[int, Say("Number of timed runs of each model.", "content", low=6)] = 6


@dataclass(frozen=True)
class Reproducing(Group):
    """Where a reproduction is kept, and how it is run."""

    jobs: Annotated[
        int,
        Say("Number of models that are fine-tuned and studied at once, each in a process.", "nothing", low=1),
    ] = 1
    output: Annotated[Path, Say("Folder for tables, figures and records.", "nothing", short="-o")] = Path(
        "michel2019"
    )
    from_records: Annotated[
        bool, Say("Write the tables and figures again, from the records alone.", "nothing")
    ] = False
    form: Annotated[
        tuple[Form, ...], Say("Format of the files; repeatable. (default: md, png)", "nothing")
    ] = ("md", "png")
