"""`prune-heads bench`: how much faster a model is without some heads."""

from typing import Annotated

from typer import BadParameter

from prune_heads.cli.config import Config
from prune_heads.cli.groups import Without, grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Bench, Choice, Folder, Setup


@grouped
def bench(
    setup: Annotated[Setup, Without("store")],
    choice: Choice,
    options: Bench,
    folder: Folder,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Time a model with all heads, with some masked, and with the same heads removed (paper, table 4).

    Beside each gain stands its ceiling, the ratio of the multiply-adds.
    """
    from prune_heads.reporting.bench import bench_page
    from prune_heads.reporting.folders import bench_files
    from prune_heads.runs import admission, keep
    from prune_heads.studies.timed import time_heads

    if options.scores is not None and choice.heads is not None:
        raise BadParameter("--scores and --heads exclude each other.")
    record, removed = time_heads(setup, choice, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: bench_files(record, removed))
    show(record, bench_page(record), as_json=as_json)
