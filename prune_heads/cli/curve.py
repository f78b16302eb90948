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
    """Draw the metric against the share of heads pruned, lowest score first, for several criteria.

    With --blocks the share is of their heads, and the others stay.

    'random' is a band over its draws. 'ablation' is measured on the examples of the curve itself, which flatters it,
    unless --score-split names another split.
    """
    from prune_heads.reporting.curves import criteria_table
    from prune_heads.reporting.folders import curve_files
    from prune_heads.runs import admission, keep
    from prune_heads.studies.curves import curves

    record = curves(setup, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: curve_files(record))
    show(record, criteria_table(record), as_json=as_json)
