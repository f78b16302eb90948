"""The job of `prune-heads correlate`."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from prune_heads.files import new_directory, write_json, write_text
from prune_heads.jobs.folder import TABLE_FILE
from prune_heads.progress import Reporter
from prune_heads.reporting.correlations import correlation_page
from prune_heads.reporting.figures import correlation_scatter, save
from prune_heads.runs import RECORD_FILE, check_output, record_of
from prune_heads.studies.clock import Clock
from prune_heads.studies.correlating import correlate_all, read_all


def correlate_job(
    sources: Sequence[Path], reporter: Reporter, *, output: Path | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Correlate every pair of series; `output` gets the record, the table and a scatter a pair.

    Args:
        sources: Folders or files of `prune-heads ablate` or `prune-heads score`.
        reporter: Told about notes.
        output: Folder to make.
        overwrite: Whether it may replace a different run.

    Returns:
        `{"series": [...], "correlations": [...]}`.

    Raises:
        PruneHeadsError: If a source cannot be read, the sources cannot be compared, or `output` holds something else.
    """
    clock = Clock()
    series = read_all(sources)
    identity = {"series": [each.to_json() for each in series]}
    check_output(output, identity, overwrite=overwrite)
    report = {**identity, "correlations": correlate_all(series, reporter)}
    clock.lap("correlate")
    if output is not None:
        cpu = torch.device("cpu")
        record = record_of(
            "correlate", identity, reporter, clock.seconds, cpu, correlations=report["correlations"]
        )
        numbers = combinations(range(1, len(series) + 1), 2)
        with new_directory(output) as folder:
            write_json(folder / RECORD_FILE, record)
            write_text(folder / TABLE_FILE, correlation_page(record).to_markdown())
            for (first, second), pair in zip(numbers, record["correlations"], strict=True):
                save(correlation_scatter(record, pair), folder, f"scatter-{first}-{second}")
    return report
