"""`prune-heads doctor`: which lines of older scripts transformers 5 ignores or refuses."""

from pathlib import Path
from typing import Annotated

import typer

from prune_heads.cli.options import Json
from prune_heads.cli.output import show

FOUND = 1

Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...", help="Scripts, notebooks, configurations (.py .ipynb .json .toml), or folders."
    ),
]


def doctor(paths: Paths, as_json: Json = False) -> None:
    """Find head masks and pruning of transformers 4 in scripts and configurations, running nothing.

    Exit code 1 when something was found, or a file that mentions it cannot be read; 0 otherwise.
    """
    from prune_heads.migration import examine
    from prune_heads.reporting.doctor import doctor_report, doctor_table

    report = doctor_report(examine(paths))
    show(report, doctor_table(report), as_json=as_json)
    if report["findings"] or report["unreadable"]:
        raise typer.Exit(FOUND)
