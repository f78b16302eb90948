"""`prune-heads run`: score, choose, prune, re-evaluate."""

from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from prune_heads.cli.choosing import ChoiceOptions, ScoringOptions
from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.names import ModeName
from prune_heads.cli.options import Json, Output, Overwrite, StoredSetupOptions
from prune_heads.cli.output import TerminalReporter, show

if TYPE_CHECKING:
    from prune_heads.studies.run import RunOptions


@grouped
def run(
    setup: StoredSetupOptions,
    choice: ChoiceOptions,
    scoring: ScoringOptions,
    config: Config = None,
    mode: Annotated[ModeName, Option(help="Zero the weights of heads, or remove them.")] = ModeName.zero,
    split: Annotated[
        list[str] | None, Option(help="Split to report on; repeatable. (default: the task's)")
    ] = None,
    curve: Annotated[
        bool, Option("--curve", help="Also the metric at 0, 10, ..., 100% of heads pruned.")
    ] = False,
    output: Output = None,
    save_checkpoint: Annotated[
        bool, Option("--save-checkpoint", help="Keep the pruned model in the output folder.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score the heads of a model on a task, prune the least important, re-evaluate.

    Without options: the built-in model and task, half of the heads, offline.
    """
    from prune_heads.jobs.run import run_job
    from prune_heads.reporting.terminal import run_report

    if save_checkpoint and output is None:
        raise BadParameter("--save-checkpoint needs an --output folder.")
    result = run_job(
        setup.resolve(),
        scoring.resolve(),
        options_of(choice, mode, split, curve),
        TerminalReporter(),
        output=output,
        save_checkpoint=save_checkpoint,
        overwrite=overwrite,
    )
    report = result.scored.report() if result.scored else None
    show(result.record, run_report(result.record, report), as_json=as_json)


def options_of(choice: ChoiceOptions, mode: ModeName, split: list[str] | None, curve: bool) -> "RunOptions":
    """What a run is asked for beside model, task and scoring."""
    from prune_heads.studies.run import RunOptions

    return RunOptions(choice.resolve(), mode.value, tuple(dict.fromkeys(split or ())), curve)
