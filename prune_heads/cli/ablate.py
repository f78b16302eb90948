"""`prune-heads ablate`: every head on its own."""

from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Ablation, Cluster, Folder, Setup


@grouped
def ablate(
    setup: Setup,
    cluster: Cluster,
    options: Ablation,
    folder: Folder,
    config: Config = None,
    as_json: Json = False,
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
