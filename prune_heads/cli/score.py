"""`prune-heads score`: how important is each head?"""

import typer

from prune_heads.cli.choosing import ScoringOptions
from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json, Output, Overwrite, StoredSetupOptions
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.shards import ShardOptions


@grouped
def score(
    setup: StoredSetupOptions,
    scoring: ScoringOptions,
    cluster: ShardOptions,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score every head; --output keeps scores.json, the gradients of each example and a heat map.

    With --executor ray the workers of a cluster share the examples, or the masks of the criterion 'ablation'.
    """
    from prune_heads.importance import CRITERIA
    from prune_heads.jobs.steps import score_job
    from prune_heads.reporting.terminal import score_table

    shards = cluster.resolve()
    if shards is not None and not CRITERIA[scoring.criterion.value].needs_data:
        name = scoring.criterion.value  # no note of a record, which is the same wherever it was computed
        typer.echo(f"note: {name} looks at no examples and is done at once: here, not on a cluster", err=True)
        shards = None
    report = score_job(
        setup.resolve(),
        scoring.resolve(),
        TerminalReporter(),
        output=output,
        overwrite=overwrite,
        shards=shards,
    )
    show(report, score_table(report), as_json=as_json)
