"""`prune-heads ablate`, `curve`, `correlate`, `bench`: what heads are worth, and what removing them gains."""

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter

from prune_heads.cli.config import Config
from prune_heads.cli.groups import Json, Without, grouped
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Ablation, Bench, Choice, Cluster, Curves, Folder, Setup


@grouped
def ablate(
    setup: Setup, cluster: Cluster, options: Ablation, folder: Folder, config: Config = None, as_json: Json = False
) -> None:
    """Mask one head after the other and test how the metric changes (paper, tables 1 to 3, 5 and 6).

    Predictions are kept in the store. A second call, also after a kill, computes only what is missing.
    With --executor ray the workers of a cluster share the masks.
    """
    from prune_heads.reporting.ablation import ablation_page
    from prune_heads.reporting.folders import ablation_files
    from prune_heads.runs import admission, keep
    from prune_heads.studies.ablating import ablate, contract
    from prune_heads.studies.spreading import spread_over

    reporter = TerminalReporter()
    with spread_over(setup, cluster, reporter) as spread:
        record = ablate(setup, options, reporter, admit=admission(folder), spread=spread)
    keep(folder, record, lambda: ablation_files(record))
    show(contract(record), ablation_page(record, narrow=True), as_json=as_json)


@grouped
def curve(setup: Setup, options: Curves, folder: Folder, config: Config = None, as_json: Json = False) -> None:
    """Measure the metric as more and more heads are pruned, lowest score first, for several criteria.

    With --blocks only heads of these layers are pruned, and the share counts them alone.

    'random' is drawn as a band over several random orders. 'ablation' scores heads on the examples of the curve itself,
    which makes it look better than it is; --score-split names another split.
    """
    from prune_heads.reporting.curves import curve_page
    from prune_heads.reporting.folders import curve_files
    from prune_heads.runs import admission, keep
    from prune_heads.studies.curves import curves

    record = curves(setup, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: curve_files(record))
    show(record, curve_page(record), as_json=as_json)


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

    The table gives each gain and its ceiling, the ratio of the multiply-adds.
    """
    from prune_heads.reporting.bench import bench_page
    from prune_heads.reporting.folders import bench_files
    from prune_heads.runs import admission, keep
    from prune_heads.studies.steps import time_heads

    if options.scores is not None and choice.heads is not None:
        raise BadParameter("--scores and --heads exclude each other.")
    record, removed = time_heads(setup, choice, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: bench_files(record, removed))
    show(record, bench_page(record), as_json=as_json)
