"""Sweeps in words and tables: what is planned, how far it is, what came out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import Sweep
from prune_heads.reporting.sweep_panels import OF_A_PANEL, panels
from prune_heads.reporting.sweep_results import varying
from prune_heads.tables import Table, columns
from prune_heads.tables.terminal import line, titled

_SHOWN = 20
"""Trials of a plan, and failures, that the terminal shows; `--json` has all."""


def plan_report(sweep: Sweep) -> dict[str, Any]:
    """The trials in order: digest and what varies; of very many the first ones."""
    return {
        "name": sweep.name,
        "digest": sweep.digest,
        "n_trials": sweep.n_trials,
        "n_described_twice": sweep.n_twice,
        "n_undrawn": sweep.n_undrawn,
        "axes": list(sweep.axes),
        "trials": [
            {"digest": trial.digest, **{axis: trial.values[axis] for axis in sweep.axes}}
            for trial in sweep.trials
        ],
    }


def plan_table(report: Mapping[str, Any]) -> RenderableType:
    """The first and the last trials."""
    axes, half = report["axes"], _SHOWN // 2
    rows = [(row["digest"][:10], *(str(row[axis]) for axis in axes)) for row in report["trials"]]
    more = ("...", *[None] * len(axes))
    last = [more] if len(rows) < report["n_trials"] else []
    if len(rows) > _SHOWN:
        rows = [*rows[:half], more, *rows[-half:]]
    said = f"{report['name']}: {report['n_trials']:,} trials"
    if report["n_described_twice"]:
        said += f"; {report['n_described_twice']:,} more are the same as others"
    if report["n_undrawn"]:
        said += f"; {report['n_undrawn']:,} more would differ in a seed alone, where nothing is drawn"
    return Table(said, columns(["trial", *axes]), (*rows, *last))


def status_report(folder: SweepFolder) -> dict[str, Any]:
    """Counts, and what the failures say; by listing folders, no record is opened. What the dead had is not running."""
    about = folder.about()
    failed = list(folder.failed())
    done = sum(folder.has_record(name) for name in folder.done())
    running = len(folder.claims().alive())
    errors = Counter(folder.failure(digest).get("error", "?") for digest in failed)
    return {
        "name": about["name"],
        "n_trials": about["n_trials"],
        "done": done,
        "failed": len(failed),
        "running": running,
        "left": about["n_trials"] - done - len(failed),
        "errors": [{"error": error, "n_trials": n} for error, n in errors.most_common()],
    }


def status_table(report: Mapping[str, Any]) -> RenderableType:
    """The counts, and the errors from the most frequent."""
    names = {"n_trials": "in all", **{name: name for name in ("done", "failed", "running", "left")}}
    rows = tuple((words, f"{report[name]:,}") for name, words in names.items())
    return Group(Table(report["name"], columns(["trials"], [""]), rows), *_errors(report))


def end_table(report: Mapping[str, Any]) -> RenderableType:
    """One line, and the errors."""
    line = f"{report['name']}: {report['done']:,} of {report['n_trials']:,} trials done"
    line += f", {report['failed']:,} failed" if report["failed"] else ""
    line += f", {report['left']:,} left" if report["left"] else ""
    return Group(titled(line), *_errors(report))


def results_table(report: Mapping[str, Any]) -> RenderableType:
    """The base and the best trial of each task, model and split by the headline metric, and where the table is."""
    shown = panels(report["rows"])
    title = " / ".join(varying([panel.rows[0] for panel in shown], OF_A_PANEL) or ["task"])
    rows = []
    for panel in shown:
        best = max(panel.rows, key=lambda row: row["pruned"])
        left = best["n_heads"] - best["n_pruned"]
        numbers = (f"{best['base']:.4f}", f"{best['pruned']:.4f}", f"{left}/{best['n_heads']}")
        rows.append((panel.title, best["metric"], f"{len(panel.rows):,}", *numbers))
    n_trials = len({row["trial"] for row in report["rows"]})
    said = f"{report['name']}: {n_trials:,} trials; {', '.join(report['files'])}"
    return Table(said, columns([title, "metric"], ["trials", "base", "best", "heads"]), tuple(rows))


def _errors(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    for row in report["errors"][:_SHOWN]:
        yield line(f"{row['n_trials']:,} failed: {row['error']}", style="red")
    if report["errors"]:
        yield line(
            "their tracebacks are in failures/; 'prune-heads sweep retry' has them tried again", style="dim"
        )
