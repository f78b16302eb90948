"""`prune-heads correlate`: do two measurements of the same heads agree?"""

from pathlib import Path
from typing import Annotated

from typer import Argument

from prune_heads.cli.options import Json, Output, Overwrite
from prune_heads.cli.output import TerminalReporter, show


def correlate(
    first: Annotated[Path, Argument(help="Folder or file of 'ablate --output' or 'score --output'.")],
    second: Annotated[Path, Argument(help="Another.")],
    more: Annotated[list[Path] | None, Argument(help="And more.")] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Correlate ablations and scores of the same heads, every pair, with 95% intervals."""
    from prune_heads.jobs.correlate import correlate_job
    from prune_heads.reporting.correlations import correlation_page

    sources = [first, second, *(more or [])]
    report = correlate_job(sources, TerminalReporter(), output=output, overwrite=overwrite)
    show(report, correlation_page(report), as_json=as_json)
