"""`prune-heads benchmark`: scoring by gates against the published protocol."""

from typing import Annotated

from typer import Option

from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json, SetupOptions
from prune_heads.cli.output import TerminalReporter, show


@grouped
def benchmark(
    setup: SetupOptions,
    repeats: Annotated[int, Option(min=1, help="Timed repeats of both, in turn.")] = 3,
    as_json: Json = False,
) -> None:
    """Time importance scoring against the published protocol (pad to 128, parameters not frozen), same scores."""
    from prune_heads.reporting.terminal import benchmark_table
    from prune_heads.studies.benchmark import benchmark_scoring

    report = benchmark_scoring(setup.resolve(), TerminalReporter(), repeats=repeats)
    show(report, benchmark_table(report), as_json=as_json)
