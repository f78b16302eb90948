"""`prune-heads evaluate`: the task's metrics, with some heads gated."""

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.options import Folder, Masked, Setup


@grouped
def evaluate(setup: Setup, options: Masked, folder: Folder, as_json: Json = False) -> None:
    """Evaluate a model on a task with some heads masked; the checkpoint is not changed."""
    from prune_heads.reporting.folders import HEADS_FILE
    from prune_heads.reporting.terminal import evaluation_table
    from prune_heads.runs import admission, keep
    from prune_heads.studies.steps import evaluate_heads

    record, mask, report = evaluate_heads(setup, options, TerminalReporter(), admit=admission(folder))
    keep(folder, record, lambda: {HEADS_FILE: mask.to_json()})
    show(report, evaluation_table(report), as_json=as_json)
