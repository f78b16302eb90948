"""`prune-heads score`: how important is each head?"""

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json, Output, Overwrite, ScoringOptions, StoredSetupOptions
from prune_heads.cli.output import TerminalReporter, show


@grouped
def score(
    setup: StoredSetupOptions,
    scoring: ScoringOptions,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score every head; --output keeps scores.json, the gradients of each example and a heat map."""
    from prune_heads.jobs.steps import score_job
    from prune_heads.reporting.terminal import score_table

    report = score_job(
        setup.resolve(), scoring.resolve(), TerminalReporter(), output=output, overwrite=overwrite
    )
    show(report, score_table(report), as_json=as_json)
