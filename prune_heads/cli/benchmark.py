"""`prune-heads benchmark`: scoring or ablations against the published protocol."""

from typing import Annotated

from typer import BadParameter, Option

from prune_heads.cli.groups import grouped
from prune_heads.cli.names import BenchmarkName
from prune_heads.cli.options import Json, SetupOptions
from prune_heads.cli.output import TerminalReporter, show


@grouped
def benchmark(
    setup: SetupOptions,
    of: Annotated[BenchmarkName, Option(help="What is timed.")] = BenchmarkName.scoring,
    repeats: Annotated[int, Option(min=1, help="Timed repeats of all sides, in turn.")] = 3,
    compiled: Annotated[
        bool, Option("--compile", help="Of ablations: compile the engine's layers first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Time importance scoring, or a full table of ablations, against the published protocol.

    Scoring: pad to 128, parameters not frozen. Ablations: pad to 128, two passes, a process a head.
    How fast a model is without some heads is for 'bench'.
    """
    reporter = TerminalReporter()
    if of is BenchmarkName.ablation:
        from prune_heads.reporting.ablation_benchmark import ablation_benchmark_table
        from prune_heads.studies.ablation_benchmark import benchmark_ablation

        report = benchmark_ablation(setup.resolve(), reporter, repeats=repeats, compiled=compiled)
        show(report, ablation_benchmark_table(report), as_json=as_json)
        return
    if compiled:
        raise BadParameter("--compile is for --of ablation.")
    from prune_heads.reporting.terminal import benchmark_table
    from prune_heads.studies.benchmark import benchmark_scoring

    report = benchmark_scoring(setup.resolve(), reporter, repeats=repeats)
    show(report, benchmark_table(report), as_json=as_json)
