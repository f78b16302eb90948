"""The benchmark of the program itself: `python -m experiments.benchmark [--of ablation]` prints its ratio.

Scoring, or a full table of ablations, is timed against the published protocol (Michel et al., 2019). Scoring: texts
padded to 128 tokens, gradients of all parameters. Ablations: padded to 128, two passes, a process a head. `--json`
prints the record; those of results/benchmark were made so.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from prune_heads.cli.groups import Without, grouped
from prune_heads.cli.output import TerminalReporter
from prune_heads.errors import PruneHeadsError
from prune_heads.options import Setup

SIDES = {
    "one_at_a_time": "one masked evaluation at a time",
    "published": "the published protocol: padded to 128, a process a head",
}


class Of(StrEnum):
    """What is timed."""

    scoring = "scoring"
    ablation = "ablation"


@grouped
def benchmark(
    setup: Annotated[Setup, Without("store")],
    of: Annotated[Of, typer.Option(help="What is timed.")] = Of.scoring,
    repeats: Annotated[int, typer.Option(min=1, help="Timed repeats of all sides, in turn.")] = 3,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Of ablations: compile the engine's layers first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record.")] = False,
) -> None:
    """Time importance scoring, or a full table of ablations, against the published protocol."""
    report: Mapping[str, Any]
    if of is Of.ablation:
        from experiments.benchmark.ablation import benchmark_ablation

        report = benchmark_ablation(setup, TerminalReporter(), repeats=repeats, compiled=compiled)
        lines = ablation_ratios(report)
    elif compiled:
        raise typer.BadParameter("--compile is for --of ablation.")
    else:
        from experiments.benchmark.scoring import benchmark_scoring

        report = benchmark_scoring(setup, TerminalReporter(), repeats=repeats)
        lines = [scoring_ratio(report)]
    print(json.dumps(report, indent=1) if as_json else "\n".join(lines))


def scoring_ratio(report: Mapping[str, Any]) -> str:
    """The ratio, each repeat, and how far the scores of both sides are apart."""
    return (
        f"ratio {_times(report['ratio'], report['ratios'])}; "
        f"scores differ by {report['relative_difference_of_scores']:.0e} at most"
    )


def ablation_ratios(report: Mapping[str, Any]) -> list[str]:
    """The engine's seconds, the ratio of each other side to them, the floor of the machine, and bfloat16."""
    floor, reduced = report["floor"], report["bfloat16"]
    ratios = (
        f"ratio {_times(ratio, report['each'][name])} to {SIDES[name]}" for name, ratio in report["ratios"].items()
    )
    flips = (
        f"; {reduced['n_flipped']:,} of {reduced['n_predictions']:,} predictions flip" if "n_flipped" in reduced else ""
    )
    return [
        f"engine: {report['sides']['engine']['seconds']:.1f} s for {report['n_variants']} masks",
        *ratios,
        f"floor: {floor['multiply_adds']:.2e} multiply-adds at {floor['matrix_rate']:.2e} a second are "
        f"{floor['seconds']:.1f} s; the engine reaches {floor['share']:.0%} of that rate",
        f"engine in bfloat16: {reduced['seconds']:.1f} s{flips}",
        *_mixed(report["mixed"]),
    ]


def _mixed(mixed: Mapping[str, Any]) -> list[str]:
    """The table of float32 at the price of bfloat16, where answers are chosen."""
    if not mixed:
        return []
    ratios = ", ".join(f"{mixed['ratios'][name]:.1f}x to {of}" for name, of in {"engine": "float32", **SIDES}.items())
    share = f"{mixed['n_float32'] / mixed['n_pairs']:.1%} of the answers in float32"
    return [f"engine in mixed: {mixed['seconds']:.1f} s, {share}; {mixed['n_flipped']:,} differ; ratio {ratios}"]


def _times(ratio: float, each: list[float]) -> str:
    return f"{ratio:.1f}x (each repeat: {', '.join(f'{value:.1f}' for value in each)})"


if __name__ == "__main__":
    try:
        typer.run(benchmark)
    except PruneHeadsError as error:
        raise SystemExit(f"error: {error}") from None
