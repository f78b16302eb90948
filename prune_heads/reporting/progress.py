"""How a sweep goes, while it goes: a live display, plain lines where there is no terminal, or events in JSON."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar

from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import Sweep
from prune_heads.execution.worker import Event, Tell
from prune_heads.tables.terminal import console, line, print_json, titled

_LINE_SECONDS = 10.0  # between two plain lines
_LOOK_SECONDS = 5.0
"""Between two looks at the folder, for what other processes have done there; one takes 0.1 s of 100,000 trials."""
_UNITS = {"a second": 1, "a minute": 60, "an hour": 3600}


@contextmanager
def display(folder: SweepFolder, sweep: Sweep, *, as_json: bool, worker: str | None = None) -> Iterator[Tell]:
    """Who is told of every event while the block lasts.

    Args:
        folder: Of the sweep.
        sweep: What there is to do.
        as_json: Events as JSON, on stdout.
        worker: The name of one process of many, which says plain lines under it also in a terminal.
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
    if worker:
        say(f"ends: {state.own['done']:,} trials done here, {state.own['failed']:,} failed")


class _State:
    """Counts so far; of all processes that work on the folder, as far as it has been looked at."""

    def __init__(self, folder: SweepFolder, sweep: Sweep) -> None:
        self.folder, self.sweep = folder, sweep
        self.running = set[str]()
        self.own = Counter[str]()
        self.start = 0.0  # when the first trial began: what loads before it says nothing of how long the others take
        self.best: dict[str, tuple[float, str]] = {}  # task -> the best value, and its metric and trial in words
        self._look()
        self.before = len(self.done | self.failed)

    def count(self, event: Event) -> None:
        self.own[event.kind] += 1
        if event.kind == "started":
            self.start = self.start or time.monotonic()
            self.running.add(event.digest)
            return
        self.running.discard(event.digest)
        if event.kind in ("done", "failed"):
            (self.done if event.kind == "done" else self.failed).add(event.digest)
        record = event.result if event.kind == "done" and event.result is not None else {}
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
        times = [f"{_span(seconds)} so far"]
        if n_now and seconds >= 1:  # of less, they would be guesses
            rate = n_now / seconds
            unit = next((unit for unit, length in _UNITS.items() if rate * length >= 1), "an hour")
            times += [f"{rate * _UNITS[unit]:.1f} {unit}"]
            times += [f"about {_span((n - n_settled) / rate)} left"] if n > n_settled else []
        best = (f"best of these on {task}: {words}" for task, (_, words) in self.best.items())
        return [", ".join(counts), ", ".join(times), *best]

    def picture(self) -> Group:
        """The lines under a bar."""
        lines = map(line, self.lines())
        bar = ProgressBar(total=max(1, len(self.sweep.trials)), completed=len(self.done | self.failed), width=60)
        return Group(titled(self.sweep.name), Padding(bar, 0), *lines)

    def _look(self) -> None:
        self.looked = time.monotonic()
        self.done, self.failed = set(self.folder.done()), set(self.folder.failed())


def _json(event: Event, sweep: Sweep) -> dict[str, Any]:
    values = {axis: event.values[axis] for axis in sweep.axes}
    seconds = {} if event.kind == "started" else {"seconds": round(event.seconds, 3)}
    error = {"error": event.error} if event.error else {}
    return {"event": event.kind, "trial": event.digest, "values": values, **seconds, **error}


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
