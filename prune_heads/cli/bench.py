"""`prune-heads bench`: how much faster a model is without some heads."""

from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from prune_heads.cli.choosing import ChoiceOptions
from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.options import Json, Output, Overwrite, SetupOptions
from prune_heads.cli.output import TerminalReporter, show


def _sizes(text: str | None) -> tuple[int, ...] | None:
    """`"1,16"` as `(1, 16)`."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= 1 for part in parts):
        raise BadParameter(
            f"'--batch-sizes' must be numbers from 1, comma-separated, e.g. 1,4,16,64; got {text!r}."
        )
    return tuple(sorted({int(part) for part in parts}))


@grouped
def bench(
    setup: SetupOptions,
    choice: ChoiceOptions,
    config: Config = None,
    scores: Annotated[
        Path | None, Option(help="A scores.json, to choose heads by; lowest first. (default: random heads)")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of the random choice of heads.")] = 0,
    batch_sizes: Annotated[
        str | None,
        Option(help="Examples a batch, comma-separated. (default: 1,4,16,64, as far as there are examples)"),
    ] = None,
    length: Annotated[
        int | None,
        Option(
            min=4,
            help="Tokens that texts are padded to, beside their real lengths. (default: 128, or what the model takes)",
        ),
    ] = None,
    runs: Annotated[int, Option(min=6, help="Timed runs of all sides, in turn, after a warm-up.")] = 6,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Time a model as it was, with heads masked, and with the same heads removed (paper, table 4).

    Beside each gain stands its ceiling, the ratio of the multiply-adds.
    """
    from prune_heads.jobs.bench import bench_job
    from prune_heads.reporting.bench import bench_page
    from prune_heads.studies.bench import Bench

    if scores is not None and choice.heads is not None:
        raise BadParameter("--scores and --heads exclude each other.")
    record = bench_job(
        setup.resolve(),
        choice.resolve(),
        Bench(_sizes(batch_sizes), length, runs),
        TerminalReporter(),
        scores=scores,
        seed=seed,
        output=output,
        overwrite=overwrite,
    )
    show(record, bench_page(record), as_json=as_json)
