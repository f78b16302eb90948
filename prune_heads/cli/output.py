"""What the terminal shows: results on stdout, progress, notes and errors on stderr."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prune_heads.cli import STARTED
from prune_heads.progress import Progress, Reporter
from prune_heads.tables.terminal import console, line, print_json, speaking
from prune_heads.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType


def fail(message: str) -> None:
    """One red line on stderr."""
    console(stderr=True).print(line(f"error: {' '.join(message.split())}", "red"), soft_wrap=True)


def show(result: Mapping[str, Any], table: "RenderableType | None", *, as_json: bool) -> None:
    """Print the result: exactly one JSON object, or the table."""
    if as_json:
        print_json(result)
    elif table is not None:
        with speaking():
            console().print(table, crop=False)  # a table that is too wide loses no number


def say_duration(work: float) -> None:
    """One line on stderr: how long the program took, and how much of it to import what it needs.

    Args:
        work: When the imports were done, by `time.perf_counter`.
    """
    seconds, start = time.perf_counter() - STARTED, work - STARTED
    console(stderr=True).print(line(f"took {seconds:.1f} s, {start:.1f} s of it to start"), soft_wrap=True)


class TerminalReporter(Reporter):
    """Draws progress with the time left on stderr, and says each note once."""

    def __init__(self) -> None:
        super().__init__()
        self.console = console(stderr=True)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Progress]:
        """A bar while the stage lasts; without a terminal, one line when it is done."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if not self.console.is_terminal or not total:
            yield lambda done: None
            if not total:
                return
            self.console.print(line(f"{name}: {total} examples done"), soft_wrap=True)
            return
        columns = (
            TextColumn("{task.description:<14}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(visible(name), total=total)
            yield lambda done: bar.advance(task, done)

    def note(self, text: str) -> None:
        """One yellow line."""
        if text not in self.notes:
            self.notes.append(text)
            self.console.print(line(f"note: {' '.join(text.split())}", "yellow"), soft_wrap=True)
