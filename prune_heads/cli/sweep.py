"""`prune-heads sweep`: many runs from one file."""

import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from prune_heads.cli.groups import Shown
from prune_heads.cli.output import show
from prune_heads.cli.signals import interruptible
from prune_heads.cli.trial import BeginTrials, Sweeping, check_criteria, draws, known
from prune_heads.errors import SpecError
from prune_heads.options import Place

Folder = Annotated[Path, Argument(metavar="DIR", help="The folder of a sweep.")]
Output = Annotated[Path | None, Option("--output", "-o", help="Folder for the files. (default: that of the sweep)")]


def run(
    spec: Annotated[
        Path, Argument(metavar="SPEC.toml", help="Options of 'run', and the tables grid, together, include, exclude.")
    ],
    options: Sweeping,
    place: Place,
    as_json: Annotated[
        bool, Option("--json", help="Print one JSON object per line: one for each event, and one at the end.")
    ] = False,
) -> None:
    """Run the trials that are not done yet."""
    from prune_heads.execution.spec import MOST_TRIALS, read_sweep

    read = read_sweep(spec, known())
    if options.dry_run:
        from prune_heads.reporting.sweep import plan

        return show(*plan(read), as_json=as_json)
    if read.n_trials > len(read.trials):
        raise SpecError(
            f"a sweep must describe {MOST_TRIALS:,} trials at most; {spec.name} describes "
            f"{read.n_trials + read.n_undrawn:,}."
        )
    check_criteria(read.trials, spec.resolve().parent)
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.execution.worker import Worker, actors, processes, turned
    from prune_heads.reporting.progress import display
    from prune_heads.reporting.sweep import status_report, status_table

    assert options.output is not None  # see `Sweeping.clash`
    folder, is_worker = SweepFolder.open(options.output.resolve(), read), options.worker
    begin = BeginTrials(folder.root, spec.resolve().parent, place.store)
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    workers = processes(options.jobs or 1, threads, _gpus())
    if options.executor == "ray":
        workers = actors(options.address, options.jobs, options.cpus or 1.0, options.gpus or 0.0)
    host, pid = platform.node(), os.getpid()
    name = f"{host} {pid}" if is_worker else None
    with display(folder, read, as_json=as_json, worker=name) as tell, interruptible() as stopping:
        trials = turned(read.trials, _own_number()) if is_worker else read.trials
        limits: dict[str, Any] = {"retries": options.retries, "stop_after": options.stop_after, "waits": not is_worker}
        own = Worker(folder, trials, begin, workers, tell, stopping, **limits)
        own.work()
        was_stopped = stopping()
    report = status_report(folder)
    about = {"worker": {"host": host, "pid": pid, "done": own.n_done, "failed": own.n_failed}} if is_worker else {}
    show({"event": "end", **report, **about}, status_table(report, is_end=True), as_json=as_json)
    if (own.n_failed or was_stopped) if is_worker else (report["failed"] or report["left"]):
        raise typer.Exit(1)


def status(folder: Folder) -> Shown:
    """Count the trials that are done, failed, running and left."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.reporting.sweep import status_report, status_table

    report = status_report(SweepFolder(folder))
    yield report, status_table(report)


def results(folder: Folder, output: Output = None) -> Shown:
    """Write the tables of the trials that are done."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.reporting.sweep import write_results

    yield write_results(SweepFolder(folder), output, draws)


def plot(folder: Folder, output: Output = None) -> Shown:
    """Draw them."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.reporting.sweep import write_plot
    from prune_heads.tables.terminal import titled

    report = write_plot(SweepFolder(folder), output, draws)
    yield report, titled(", ".join(report["files"]))


def retry(folder: Folder) -> Shown:
    """Forget the failures."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.tables.terminal import titled

    opened = SweepFolder(folder)
    opened.about()
    n = opened.forget_failures()
    yield {"n_forgotten": n}, titled(f"{n} failed trials will be tried again by 'prune-heads sweep run'")


def _own_number() -> int:
    """Of a worker among those of its kind: its place in the array job, else the number of its process."""
    place = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return int(place) if place.isdecimal() else os.getpid()


def _gpus() -> list[str]:
    """GPUs of this machine that may be used, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip()]
    return list(map(str, range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))))
