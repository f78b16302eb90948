"""Sweeps: the plan, how far it is (live, in plain lines without a terminal, or in JSON), the files of what came out."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar

from prune_heads.errors import RunError
from prune_heads.execution.folder import RECORD_FILE, SweepFolder
from prune_heads.execution.spec import Sweep
from prune_heads.execution.worker import Event, Tell
from prune_heads.files import canonical, write_bytes, write_json, writing_into
from prune_heads.reporting.sweep_results import OF_A_PANEL, Rows, panels, result_rows, results_page, varying
from prune_heads.reporting.words import Record
from prune_heads.tables import Table
from prune_heads.tables.terminal import console, line, print_json
from prune_heads.visible import csv_of

_SHOWN = 20  # trials of a plan, and failures, that the terminal shows; `--json` has all
_LINE_SECONDS = 10.0  # between two plain lines
_LOOK_SECONDS = 5.0  # between two looks at what other processes have done; one takes 0.1 s of 100,000 trials
_UNITS = {"a second": 1, "a minute": 60, "an hour": 3600}


def plan(sweep: Sweep) -> tuple[dict[str, Any], Table]:
    """The trials in order: digest and what varies; of very many the first ones. The table has the ends of them."""
    trials = [{"digest": trial.digest, **{axis: trial.values[axis] for axis in sweep.axes}} for trial in sweep.trials]
    rows = [{"trial": row["digest"][:10], **{axis: str(row[axis]) for axis in sweep.axes}} for row in trials]
    more = {"trial": "..."}
    if len(rows) > _SHOWN:
        rows = [*rows[: _SHOWN // 2], more, *rows[-_SHOWN // 2 :]]
    said = f"{sweep.name}: {sweep.n_trials:,} trials"
    why = {"are the same as others": sweep.n_twice}
    why["would differ in a seed alone, where nothing is drawn"] = sweep.n_undrawn
    said += "".join(f"; {n:,} more {reason}" for reason, n in why.items() if n)
    report = {"name": sweep.name, "digest": sweep.digest, "n_trials": sweep.n_trials}
    report |= {"n_described_twice": sweep.n_twice, "n_undrawn": sweep.n_undrawn, "axes": list(sweep.axes)}
    return {**report, "trials": trials}, Table.of(said, [*rows, *([more] if len(trials) < sweep.n_trials else [])])


def status_report(folder: SweepFolder) -> dict[str, Any]:
    """Counts, and what the failures say; by listing folders, no record is opened. What the dead had is not running."""
    about, failed = folder.about(), folder.failed()
    done = sum((folder.trial(name) / RECORD_FILE).is_file() for name in folder.done())
    errors = Counter(folder.failure(digest).get("error", "?") for digest in failed)
    report = {"name": about["name"], "n_trials": about["n_trials"], "done": done, "failed": len(failed)}
    report |= {"running": len(folder.claims().alive()), "left": about["n_trials"] - done - len(failed)}
    return {**report, "errors": [{"error": error, "n_trials": n} for error, n in errors.most_common()]}


def status_table(report: Mapping[str, Any], *, is_end: bool = False) -> RenderableType:
    """The counts, as one line at the end of a run, and the errors from the most frequent."""
    head: RenderableType
    if is_end:
        counts = [f"{report['done']:,} of {report['n_trials']:,} trials done"]
        counts += [f"{report[name]:,} {name}" for name in ("failed", "left") if report[name]]
        head = line(f"{report['name']}: {', '.join(counts)}", "bold")
    else:
        names = {"n_trials": "in all", **{name: name for name in ("done", "failed", "running", "left")}}
        rows = ({"trials": words, "": report[name]} for name, words in names.items())
        head = Table.of(report["name"], rows, {"": ","})
    errors = [line(f"{row['n_trials']:,} failed: {row['error']}", style="red") for row in report["errors"][:_SHOWN]]
    if errors:
        errors.append(line("their tracebacks are in failures/; 'prune-heads sweep retry' has them tried again", "dim"))
    return Group(head, *errors)


def write_results(folder: SweepFolder, output: Path | None) -> tuple[dict[str, Any], Table]:
    """Write the tables of the trials that are done (CSV, Parquet, Markdown), and a record of the sweep.

    They go to `output`, None for the folder of the sweep. Gives the report, and a table of the base and the best trial
    of each task, model and split by the headline metric. A `RunError` if no trial is done, a record is damaged, or the
    folder cannot be written to.
    """
    about, records, target = folder.about(), _done(folder), output or folder.root
    found, conditions = sha256(), {}
    rows = list(result_rows(about["axes"], records))
    for each in records.values():
        found.update(canonical(each).encode())  # the same for the same finds
        conditions[canonical(each["provenance"])] = each["provenance"]
    about.pop("format", None)  # that of the folder
    record = {"format": 1, "command": "sweep", **about, "n_done": len(records), "records": found.hexdigest()}
    record["provenance"] = [conditions[key] for key in sorted(conditions)]
    page = results_page(record["name"], rows).to_markdown().encode()
    contents = {"results.csv": csv_of(rows).encode(), "results.parquet": results_parquet(rows), "table.md": page}
    with writing_into("the folder of the table", target):
        for name, content in contents.items():
            write_bytes(target / name, content)
        write_json(target / RECORD_FILE, record)
    files, shown, best_rows = [*contents, RECORD_FILE], panels(rows), []
    title = " / ".join(varying([panel.rows[0] for panel in shown], OF_A_PANEL) or ["task"])
    for panel in shown:
        best = max(panel.rows, key=lambda row: row["pruned"])
        left = best["n_heads"] - best["n_pruned"], best["n_heads"]
        row = {title: panel.title, "metric": best["metric"], "trials": len(panel.rows)}
        best_rows.append(row | {"base": best["base"], "best": best["pruned"], "heads": left})
    said = f"{record['name']}: {len({row['trial'] for row in rows}):,} trials; {', '.join(files)}"
    forms = {"trials": ",", "base": ".4f", "best": ".4f", "heads": "{0[0]}/{0[1]}"}
    return {"name": record["name"], "files": files, "rows": rows}, Table.of(said, best_rows, forms)


def write_plot(folder: SweepFolder, output: Path | None) -> tuple[dict[str, Any], RenderableType]:
    """Draw the trials that are done; gives the report, and what files there are. `RunError` as in `write_results`."""
    from prune_heads.reporting.figures import save
    from prune_heads.reporting.figures.curves import sweep_figure

    rows = list(result_rows(folder.about()["axes"], _done(folder)))
    target, name = output or folder.root, folder.about()["name"]
    with writing_into("the folder of the figure", target):
        target.mkdir(parents=True, exist_ok=True)
        save(sweep_figure(name, rows), target, "sweep")
    files, n_trials = ["sweep.png", "sweep.svg"], len({row["trial"] for row in rows})
    return {"name": name, "files": files, "n_trials": n_trials}, line(", ".join(files), "bold")


def results_parquet(rows: Rows) -> bytes:
    """The rows as Parquet."""
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    return bytes(sink.getvalue())


def _done(folder: SweepFolder) -> dict[str, Record]:
    """The records of the trials that are done, in the order of their digests."""
    records: dict[str, Record] = {name: folder.record(name) for name in folder.done()}
    if not records:
        raise RunError(f"no trial of {folder.root.name} is done yet, as a table needs; see 'prune-heads sweep status'")
    return records


@contextmanager
def display(folder: SweepFolder, sweep: Sweep, *, as_json: bool, worker: str | None = None) -> Iterator[Tell]:
    """Who is told of every event while the block lasts, and shows it; with `as_json` as JSON, on stdout.

    A worker is the name of one process of many, which says plain lines under it also in a terminal.
    """
    if as_json:
        yield lambda event: print_json(_json(event, sweep))
        return
    state, screen = _State(folder, sweep), console(stderr=True)
    is_live, last = screen.is_terminal and not worker, time.monotonic() if worker else 0.0

    def say(text: str, style: str = "") -> None:
        screen.print(line(f"{worker}: {text}" if worker else text, style), soft_wrap=True)

    def tell(event: Event) -> None:
        nonlocal last
        state.count(event)
        if event.error:
            say(f"{event.digest[:10]} {event.kind}: {event.error}", "red" if is_live else "")
        if not is_live and event.kind != "started" and time.monotonic() - last >= _LINE_SECONDS:
            last = time.monotonic()
            say("; ".join(state.lines()))

    if is_live:
        with Live(get_renderable=state.picture, console=screen, refresh_per_second=4, transient=True):
            yield tell
        return
    if worker:
        say(state.lines()[0])
    yield tell


class _State:
    """Counts so far; of all processes that work on the folder, as far as it has been looked at."""

    def __init__(self, folder: SweepFolder, sweep: Sweep) -> None:
        self.folder, self.sweep = folder, sweep
        self.running = set[str]()
        self.start = 0.0  # when the first trial began: what loads before it says nothing of how long the others take
        self.best: dict[str, tuple[float, str]] = {}  # task -> the best value, and its metric and trial in words
        self._look()
        self.before = len(self.done | self.failed)

    def count(self, event: Event) -> None:
        if event.kind == "started":
            self.start = self.start or time.monotonic()
            self.running.add(event.digest)
            return
        self.running.discard(event.digest)
        if event.kind in ("done", "failed"):
            (self.done if event.kind == "done" else self.failed).add(event.digest)
        record = (event.kind == "done" and event.result) or {}
        row = next((row for row in record.get("rows", ()) if row["metric"] == record["headline"]), None)
        if row is not None and row["pruned"] > self.best.get(record["task"], (-float("inf"), ""))[0]:
            given = {axis: event.values[axis] for axis in self.sweep.axes if axis != "task"}
            what = [f"{axis} {value}" for axis, value in given.items() if value is not None]
            words = f"{row['metric']} {row['pruned']:.4f} ({', '.join(what) or event.digest[:10]})"
            self.best[record["task"]] = (row["pruned"], words)

    def lines(self) -> list[str]:
        """Trials done, running, failed; rate, time so far, time left; the best of each task."""
        now = time.monotonic()
        if now - self.looked >= _LOOK_SECONDS:
            self._look()
        n, n_settled = len(self.sweep.trials), len(self.done | self.failed)
        counts = [f"{len(self.done):,} of {n:,} trials done"]
        counts += [f"{len(self.failed):,} failed"] if self.failed else []
        if n > n_settled and (self.running or not n_settled):  # a cluster tells of trials when they are over
            counts += [f"{len(self.running) or 'none'} running here"]
        if not self.start:
            return [", ".join(counts) + " yet" * (n > n_settled)]
        seconds, n_now = now - self.start, n_settled - self.before
        times = [f"{timedelta(seconds=int(seconds))} so far"]
        if n_now and seconds >= 1:  # of less, they would be guesses
            rate = n_now / seconds
            unit = next((unit for unit, length in _UNITS.items() if rate * length >= 1), "an hour")
            times += [f"{rate * _UNITS[unit]:.1f} {unit}"]
            times += [f"about {timedelta(seconds=int((n - n_settled) / rate))} left"] if n > n_settled else []
        best = (f"best of these on {task}: {words}" for task, (_, words) in self.best.items())
        return [", ".join(counts), ", ".join(times), *best]

    def picture(self) -> Group:
        """The lines under a bar."""
        lines = map(line, self.lines())
        bar = ProgressBar(total=max(1, len(self.sweep.trials)), completed=len(self.done | self.failed), width=60)
        return Group(line(self.sweep.name, "bold"), Padding(bar, 0), *lines)

    def _look(self) -> None:
        self.looked = time.monotonic()
        self.done, self.failed = set(self.folder.done()), set(self.folder.failed())


def _json(event: Event, sweep: Sweep) -> dict[str, Any]:
    values = {axis: event.values[axis] for axis in sweep.axes}
    seconds = {} if event.kind == "started" else {"seconds": round(event.seconds, 3)}
    error = {"error": event.error} if event.error else {}
    return {"event": event.kind, "trial": event.digest, "values": values, **seconds, **error}
