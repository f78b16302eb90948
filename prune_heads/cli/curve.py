"""`prune-heads curve`: the metric as heads go, in the order of several criteria."""

from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Curves, Folder, Setup


@grouped
def curve(
    setup: Setup, options: Curves, folder: Folder, config: Config = None, as_json: Json = False
) -> None:
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
