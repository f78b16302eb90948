"""`prune-heads correlate`: do two measurements of the same heads agree?"""

from pathlib import Path
from typing import Annotated

from typer import Argument

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Folder


@grouped
def correlate(
    first: Annotated[Path, Argument(help="Folder or file of 'ablate --output' or 'score --output'.")],
    second: Annotated[Path, Argument(help="Another one.")],
    folder: Folder,
    more: Annotated[list[Path] | None, Argument(help="Any number of others.")] = None,
    as_json: Json = False,
) -> None:
    """Correlate every pair of ablations and scores of the same heads, with 95% intervals."""
    from prune_heads.reporting.curves import correlation_page
    from prune_heads.reporting.folders import correlation_files
    from prune_heads.runs import admission, keep
    from prune_heads.studies.correlating import correlate_files

    sources = [first, second, *(more or [])]
    record = correlate_files(sources, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: correlation_files(record))
    report = {name: record[name] for name in ("series", "correlations")}
    show(report, correlation_page(report), as_json=as_json)
