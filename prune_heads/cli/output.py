"""What the terminal shows: results on stdout, progress, notes and errors on stderr."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from prune_heads.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType


def fail(message: str) -> None:
    """One red line on stderr."""
    Console(stderr=True).print(Text(f"error: {' '.join(message.split())}", style="red"), soft_wrap=True)


def show(result: Mapping[str, Any], table: "RenderableType | None", *, as_json: bool) -> None:
    """Print the result: exactly one JSON object, or the table."""
    if as_json:
        print(json.dumps(result, allow_nan=False))  # ASCII, which every terminal and pipe can take
    elif table is not None:
        Console().print(table, crop=False)  # a table that is too wide loses no number


class TerminalReporter:
    """Draws progress with the time left on stderr, and says each note once."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.notes: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Progress]:
        """A bar while the stage lasts; without a terminal, one line when it is done."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        if not self.console.is_terminal or not total:
            yield lambda done: None
            if not total:
                return
            self.console.print(f"{name}: {total} examples done", soft_wrap=True, highlight=False)
            return
        columns = (
            TextColumn("{task.description:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(name, total=total)
            yield lambda done: bar.advance(task, done)

    def note(self, text: str) -> None:
        """One yellow line."""
        if text not in self.notes:
            self.notes.append(text)
            self.console.print(Text(f"note: {text}", style="yellow"), soft_wrap=True)
