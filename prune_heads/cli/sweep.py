"""`prune-heads sweep`: many runs from one file."""

import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, BadParameter, Option

from prune_heads.cli.groups import Json, grouped, help_alone
from prune_heads.cli.output import show
from prune_heads.cli.signals import interruptible
from prune_heads.cli.trial import BeginTrials, check_criteria, known
from prune_heads.errors import SpecError
from prune_heads.options import Place
from prune_heads.options.choices import Executor
from prune_heads.options.trials import draws

Folder = Annotated[Path, Argument(metavar="DIR", help="The folder of a sweep.")]
Output = Annotated[Path | None, Option("--output", "-o", help="Folder for the files. (default: that of the sweep)")]

sweep = typer.Typer(help="Many runs from one file: run, status, results, retry, plot.")
sweep.callback(invoke_without_command=True)(help_alone)


# long: its options, and who works on them
@sweep.command("run")
@grouped
def run(
    *,
    spec: Annotated[
        Path, Argument(metavar="SPEC.toml", help="Options of 'run', and the tables grid, together, include, exclude.")
    ],
    output: Annotated[
        Path | None, Option("--output", "-o", help="Folder of the sweep; trials that are done there are not run again.")
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="List the trials without running them.")] = False,
    executor: Annotated[Executor, Option(help="Processes on this machine, or a Ray cluster (extra 'ray').")] = "local",
    jobs: Annotated[
        int | None, Option(min=1, help="Number of processes that run trials. (default: 1; on Ray as many as fit)")
    ] = None,
    worker: Annotated[
        bool,
        Option(
            "--worker",
            help="Run as one of many processes of an array job, and end without waiting for the trials of the others.",
        ),
    ] = False,
    address: Annotated[
        str | None, Option(help="Address of the Ray cluster: auto or ray://... (default: a new local one)")
    ] = None,
    cpus: Annotated[float | None, Option(min=0.1, help="Cores of a Ray worker. (default: 1)")] = None,
    gpus: Annotated[float | None, Option(min=0, help="GPUs of a Ray worker. (default: 0)")] = None,
    retries: Annotated[
        int, Option(min=0, help="Number of further attempts at a trial that fails, each after a longer pause.")
    ] = 0,
    stop_after: Annotated[int | None, Option(min=1, help="Start no more trials after this many have failed.")] = None,
    place: Place,
    as_json: Annotated[
        bool, Option("--json", help="Print one JSON object per line: one for each event, and one at the end.")
    ] = False,
) -> None:
    """Run the trials of a sweep that are not done yet. Ctrl-C lets running trials finish; a second one stops them.

    Several processes, also on other machines, may work on one folder at once. Each runs until all trials are done, and
    takes over the trials of processes that died. A --worker ends as soon as others run all that is left. The exit code
    is 1 if a trial failed or is left; for a --worker, if one of its own trials failed or it was interrupted.
    """
    from prune_heads.execution.spec import MOST_TRIALS, read_sweep

    try:
        read = read_sweep(spec, known())
    except SpecError as error:
        raise BadParameter(str(error)) from error
    if dry_run:
        from prune_heads.reporting.sweep import plan_report, plan_table

        report = plan_report(read)
        return show(report, plan_table(report), as_json=as_json)
    of_ray = {"--address": address, "--cpus": cpus, "--gpus": gpus}
    if executor == "local" and any(value is not None for value in of_ray.values()):
        raise BadParameter(f"{', '.join(of_ray)} belong to --executor ray.")
    if worker and executor != "local":
        raise BadParameter("--worker and --executor ray exclude each other.")
    if output is None:
        raise BadParameter("--output must name the folder of the sweep (or ask for --dry-run).")
    if read.n_trials > len(read.trials):
        raise BadParameter(
            f"a sweep must describe {MOST_TRIALS:,} trials at most; {spec.name} describes "
            f"{read.n_trials + read.n_undrawn:,}."
        )
    check_criteria(read.trials, spec.resolve().parent)
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.execution.worker import Worker, actors, processes, turned
    from prune_heads.reporting.progress import display
    from prune_heads.reporting.sweep import status_report, status_table

    folder = SweepFolder.open(output.resolve(), read)
    begin = BeginTrials(folder.root, spec.resolve().parent, place.store)
    workers = processes(jobs or 1, _threads(), _gpus())
    if executor == "ray":
        workers = actors(address, jobs, cpus or 1.0, gpus or 0.0)
    host, pid = platform.node(), os.getpid()
    name = f"{host} {pid}" if worker else None
    with display(folder, read, as_json=as_json, worker=name) as tell, interruptible() as stopping:
        trials = turned(read.trials, _own_number()) if worker else read.trials
        limits: dict[str, Any] = {"retries": retries, "stop_after": stop_after, "waits": not worker}
        own = Worker(folder, trials, begin, workers, tell, stopping, **limits)
        own.work()
        was_stopped = stopping()
    report = status_report(folder)
    done = {"host": host, "pid": pid, "done": own.n_done, "failed": own.n_failed}
    about = {"worker": done} if worker else {}
    if as_json:
        show({"event": "end", **report, **about}, None, as_json=True)
    else:
        show(report, status_table(report, is_end=True), as_json=False)
    if (own.n_failed or was_stopped) if worker else (report["failed"] or report["left"]):
        raise typer.Exit(1)


@sweep.command("status")
def status(folder: Folder, as_json: Json = False) -> None:
    """Count the trials that are done, failed, running and left."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.reporting.sweep import status_report, status_table

    report = status_report(SweepFolder(folder))
    show(report, status_table(report), as_json=as_json)


@sweep.command("results")
def results(folder: Folder, output: Output = None, as_json: Json = False) -> None:
    """Write results.csv and results.parquet (a row per trial, split and metric), table.md and record.json."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.reporting.sweep import results_table, write_results

    report = write_results(SweepFolder(folder), output, draws)
    show(report, results_table(report), as_json=as_json)


@sweep.command("plot")
def plot(folder: Folder, output: Output = None, as_json: Json = False) -> None:
    """Draw the metric against the heads pruned, a line per criterion and a band over seeds: sweep.png and sweep.svg."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.reporting.sweep import write_plot
    from prune_heads.tables.terminal import titled

    report = write_plot(SweepFolder(folder), output, draws)
    show(report, titled(", ".join(report["files"])), as_json=as_json)


@sweep.command("retry")
def retry(folder: Folder, as_json: Json = False) -> None:
    """Forget the failures, so that the next 'sweep run' runs these trials again."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.tables.terminal import titled

    opened = SweepFolder(folder)
    opened.about()
    n = opened.forget_failures()
    show(
        {"n_forgotten": n}, titled(f"{n} failed trials will be tried again by 'prune-heads sweep run'"), as_json=as_json
    )


def _own_number() -> int:
    """Of a worker among those of its kind: its place in the array job, else the number of its process."""
    place = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return int(place) if place.isdecimal() else os.getpid()


def _threads() -> int:
    """As many as there are, or as the user has said."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def _gpus() -> list[str]:
    """GPUs of this machine that may be used, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip()]
    return list(map(str, range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))))
