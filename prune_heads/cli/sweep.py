# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""`prune-heads sweep`: many runs from one file. Its trials take the options of `prune-heads run`, checked as there."""

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from prune_heads.cli.groups import Shown
from prune_heads.cli.output import say, show
from prune_heads.cli.signals import interruptible
from prune_heads.errors import OptionError, PruneHeadsError
from prune_heads.execution import worker
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import MOST_TRIALS, Known, Trial, read_sweep
from prune_heads.objectives import task_name
from prune_heads.options import Choice, Group, Opt, Place, RunOptions, Scoring, Setup, options_of
from prune_heads.options.fields import nowhere
from prune_heads.options.setup import Executor
from prune_heads.reporting import sweep as tables
from prune_heads.reporting.sweep_results import draws
from prune_heads.tables.terminal import line

GROUPS: tuple[type[Group], ...] = (Setup, Choice, Scoring, RunOptions)


@cache
def trial_options() -> Mapping[str, Opt]:
    """By name; where predictions are kept is said of the sweep, not of a trial."""
    return {name: each for group in GROUPS for name, each in options_of(group).items() if name != "store"}


@dataclass(frozen=True)
class Workers(Group):
    """Who runs trials."""

    executor: Executor = nowhere("Processes on this machine, or a Ray cluster (extra 'ray').", "local")
    jobs: int | None = nowhere("Number of processes that run trials. (default: 1; on Ray as many as fit)", low=1)
    address: str | None = nowhere("Address of the Ray cluster: auto or ray://... (default: a new local one)")
    cpus: float | None = nowhere("Cores of a Ray worker. (default: 1)", low=0.1)
    gpus: float | None = nowhere("GPUs of a Ray worker. (default: 0)", low=0)

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if given.get("executor") != "ray" and given.keys() & {"address", "cpus", "gpus"}:
            yield "--address, --cpus, --gpus belong to --executor ray"

    def start(self) -> worker.Workers:
        """What starts them."""
        if self.executor == "ray":
            return worker.actors(self.address, self.jobs, self.cpus or 1.0, self.gpus or 0.0)
        return worker.processes(self.jobs or 1, int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)), _gpus())


@dataclass(frozen=True)
class Sweeping(Workers):
    """How the trials of a sweep are run, and where they are kept."""

    output: Path | None = nowhere("Folder of the sweep; trials that are done there are not run again.", short="-o")
    dry_run: bool = nowhere("List the trials without running them.", False)
    worker: bool = nowhere(
        "Run as one of many processes of an array job, and do not wait for the trials of others.", False
    )
    retries: int = nowhere("Number of further attempts at a trial that fails, each after a longer pause.", 0, low=0)
    stop_after: int | None = nowhere("Start no more trials after this many have failed.", low=1)

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        yield from super()._clashes(given)
        if given.get("worker") and given.get("executor") == "ray":
            yield "--worker and --executor ray exclude each other"
        if "output" not in given and not given.get("dry_run"):
            yield "--output must name the folder of the sweep (or ask for --dry-run)"


def known() -> Known:
    """What a trial may set."""
    options = trial_options()

    def check(name: str, word: Any) -> Any:
        if word is not None:  # which stands for the default
            options[name].value(word)
        return task_name(word) if name == "task" and isinstance(word, str) else word

    def clash(words: Mapping[str, Any]) -> str | None:
        try:
            for group in GROUPS:
                group.of(words)
        except PruneHeadsError as error:
            return str(error).removesuffix(".")
        return None

    words = {name: option.word for name, option in options.items()}
    always = frozenset(name for name, option in options.items() if option.since != "later")
    return Known(words, check, clash, draws, always)


@dataclass(frozen=True)
class BeginTrials:
    """Called once in each process: loads what trials need and gives what runs them."""

    sweep: Path  # the folder of the sweep
    relative_to: Path  # the folder that paths in the file are relative to
    store: str | None  # a URL, or an absolute path

    def __call__(self) -> worker.RunTrial:
        """What runs a trial; of two in turn with the same model and task, the second loads nothing."""
        from prune_heads.progress import Reporter
        from prune_heads.studies.pruning import run
        from prune_heads.studies.scoring import Lab

        folder = SweepFolder(self.sweep)
        lab: Lab | None = None
        reporter = Reporter()

        def run_trial(trial: Trial) -> Mapping[str, Any]:
            nonlocal lab
            options = trial_options()
            words = {name: options[name].placed(word, self.relative_to) for name, word in trial.values.items()}
            setup = Setup.of({**words, "store": self.store})
            reporter.notes.clear()
            if lab is None or lab.setup != setup:
                lab = None  # two models at once may be one too many
                lab = Lab(setup, reporter, share=folder.shared, reused=True)
            record = run(lab, Choice.of(words), Scoring.of(words), RunOptions.of(words)).record
            del record["seconds"], record["provenance"]["date"]  # they differ between two runs of the same
            return {"trial": {"digest": trial.digest, "values": dict(trial.values)}, **record}

        return run_trial


Folder = Annotated[Path, Argument(metavar="DIR", help="The folder of a sweep.")]
Spec = Annotated[Path, Argument(metavar="SPEC.toml", help="Options of 'run', with grid, together, include, exclude.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object per line: one for each event, and one at the end.")]
Output = Annotated[Path | None, Option("--output", "-o", help="Folder for the files. (default: that of the sweep)")]


def run(spec: Spec, options: Sweeping, place: Place, as_json: Json = False) -> None:
    """Run the trials that are not done yet."""
    read = read_sweep(spec, known())
    if options.dry_run:
        return show(*tables.plan(read), as_json=as_json)
    if read.n_trials > len(read.trials):
        must = f"a sweep must describe {MOST_TRIALS:,} trials at most"
        raise OptionError(f"{must}; {spec.name} describes {read.n_trials + read.n_undrawn:,}.")
    for criterion in {trial.values["criterion"] for trial in read.trials if ":" in trial.values["criterion"]}:
        from prune_heads.importance import criterion_of  # torch, which starting workers need not wait for

        criterion_of(trial_options()["criterion"].placed(criterion, spec.resolve().parent))  # before any trial is run
    assert options.output is not None  # see `Sweeping._clashes`
    folder, is_worker = SweepFolder.open(options.output.resolve(), read), options.worker
    begin = BeginTrials(folder.root, spec.resolve().parent, place.store)
    host, pid = platform.node(), os.getpid()
    name = f"{host} {pid}" if is_worker else None
    with tables.display(folder, read, as_json=as_json, worker=name) as tell, interruptible() as stopping:
        task = os.environ.get("SLURM_ARRAY_TASK_ID", "")  # the number in an array job
        trials = worker.turned(read.trials, int(task) if task.isdecimal() else pid) if is_worker else read.trials
        limits: dict[str, Any] = {"retries": options.retries, "stop_after": options.stop_after, "waits": not is_worker}
        own = worker.Worker(folder, trials, begin, options.start(), tell, stopping, **limits)
        own.work()
        was_stopped = stopping()
    if name and not as_json:
        say(f"{name}: ends: {own.n_done:,} trials done here, {own.n_failed:,} failed")
    report = tables.status_report(folder)
    about = {"worker": {"host": host, "pid": pid, "done": own.n_done, "failed": own.n_failed}} if is_worker else {}
    show({"event": "end", **report, **about}, tables.status_table(report, is_end=True), as_json=as_json)
    if (own.n_failed or was_stopped) if is_worker else (report["failed"] or report["left"]):
        raise typer.Exit(1)


def status(folder: Folder) -> Shown:
    """Count the trials that are done, failed, running and left."""
    report = tables.status_report(SweepFolder(folder))
    yield report, tables.status_table(report)


def results(folder: Folder, output: Output = None) -> Shown:
    """Write the tables of the trials that are done."""
    yield tables.write_results(SweepFolder(folder), output)


def plot(folder: Folder, output: Output = None) -> Shown:
    """Draw them."""
    yield tables.write_plot(SweepFolder(folder), output)


def retry(folder: Folder) -> Shown:
    """Forget the failures."""
    opened = SweepFolder(folder)
    opened.about()
    n = opened.forget_failures()
    yield {"n_forgotten": n}, line(f"{n} failed trials will be tried again by 'prune-heads sweep run'", "bold")


def _gpus() -> list[str]:
    """GPUs of this machine that may be used, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip()]
    return list(map(str, range(len(list(Path("/proc/driver/nvidia/gpus").glob("*"))))))
