"""How a sweep goes, while it goes: a live display, plain lines where there is no terminal, or events in JSON."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import Sweep
from prune_heads.execution.worker import Event

Tell = Callable[[Event], None]
_LINE_SECONDS = 10.0
"""Between two plain lines."""


@contextmanager
def display(folder: SweepFolder, sweep: Sweep, *, as_json: bool) -> Iterator[Tell]:
    """Who is told of every event while the block lasts."""
    state = _State(len(sweep.trials), sum(1 for _ in folder.done()), sum(1 for _ in folder.failed()))
    if as_json:
        yield lambda event: print(json.dumps(_json(event, sweep)), flush=True)
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(state, console).tell
        return
    with Live(state.text(), console=console, refresh_per_second=4, transient=True) as live:

        def tell(event: Event) -> None:
            state.count(event)
            live.update(state.text())

        yield tell


class _State:
    """Counts so far."""

    def __init__(self, total: int, done: int, failed: int) -> None:
        self.total, self.done, self.failed = total, done, failed
        self.running, self.own, self.start = 0, 0, time.monotonic()
        self.known: set[str] = set()
        """Trials that were told to be done; a worker of ours tells of those of another that it finds done."""
        self.best: dict[str, tuple[float, str, str]] = {}
        """Task -> the best value, its metric, and its trial."""

    def count(self, event: Event) -> None:
        self.running += {"started": 1, "taken": 0}.get(event.kind, -1)
        if event.kind in ("done", "taken") and event.digest not in self.known:
            self.known.add(event.digest)
            self.done += 1
        self.failed += event.kind == "failed"
        self.own += event.kind in ("done", "failed")
        if event.kind == "done" and event.result is not None:
            self._best(event.digest, event.result)

    def _best(self, digest: str, record: Mapping[str, Any]) -> None:
        rows = [row for row in record.get("rows", ()) if row["metric"] == record["headline"]]
        if rows and rows[0]["pruned"] > self.best.get(record["task"], (-float("inf"), "", ""))[0]:
            self.best[record["task"]] = (rows[0]["pruned"], record["headline"], digest[:10])

    def text(self) -> Text:
        """Trials done, running, failed, rate, time left, and the best of each task."""
        seconds = time.monotonic() - self.start
        rate = self.own / seconds if seconds else 0.0
        left = self.total - self.done - self.failed
        parts = [f"{self.done:,} of {self.total:,} trials done", f"{self.running} running"]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{rate:.2f} a second", f"{_span(left / rate)} left"] if rate else []
        lines = [", ".join(parts)]
        lines += [
            f"best on {task}: {metric} {value:.4f} ({name})"
            for task, (value, metric, name) in self.best.items()
        ]
        return Text("\n".join(lines))


class _Lines:
    """Plain lines: each failure, and now and then how far it is."""

    def __init__(self, state: _State, console: Console) -> None:
        self.state, self.console, self.last = state, console, 0.0

    def tell(self, event: Event) -> None:
        self.state.count(event)
        if event.error:
            self._print(f"{event.digest[:10]} {event.kind}: {event.error}")
        now = time.monotonic()
        if event.kind != "started" and now - self.last >= _LINE_SECONDS:
            self.last = now
            self._print(str(self.state.text()).replace("\n", "; "))

    def _print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False, markup=False)


def _json(event: Event, sweep: Sweep) -> dict[str, Any]:
    values = {axis: event.values[axis] for axis in sweep.axes}
    about: dict[str, Any] = {"event": event.kind, "trial": event.digest, "values": values}
    if event.kind != "started":
        about["seconds"] = round(event.seconds, 3)
    return about | ({"error": event.error} if event.error else {})


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
