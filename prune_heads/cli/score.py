"""`prune-heads score`: how important is each head?"""

import typer

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Cluster, Folder, Scoring, Setup


@grouped
def score(setup: Setup, scoring: Scoring, cluster: Cluster, folder: Folder, as_json: Json = False) -> None:
    """Score every head; --output keeps the scores, the gradients of each example and a heat map.

    With --executor ray the workers of a cluster share the examples, or the masks of the criterion 'ablation'.
    """
    from prune_heads.importance import criterion_of
    from prune_heads.reporting.folders import score_files
    from prune_heads.reporting.terminal import score_table
    from prune_heads.runs import admission, keep
    from prune_heads.studies.spreading import spread_over
    from prune_heads.studies.steps import score_heads

    criterion = criterion_of(scoring.criterion)  # one's own that does not fit is refused before all else
    reporter = TerminalReporter()
    if cluster.shards is not None and not criterion.needs_data:
        name = scoring.criterion  # no note of a record, which is the same wherever it was computed
        typer.echo(f"note: {name} looks at no examples and is done at once: here, not on a cluster", err=True)
        cluster = Cluster()
    with spread_over(setup, cluster, reporter) as spread:
        record, scored = score_heads(setup, scoring, reporter, admit=admission(folder), spread=spread)
    keep(folder, record, lambda: score_files(scored))
    report = scored.report()
    show(report, score_table(report), as_json=as_json)
