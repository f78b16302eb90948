"""What the terminal shows: results on stdout, progress, notes and errors on stderr."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prune_heads.progress import Progress, Reporter
from prune_heads.tables.terminal import console, line, print_json, speaking
from prune_heads.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType


def say(text: str, style: str = "") -> None:
    """One line on stderr."""
    console(stderr=True).print(line(" ".join(text.split()), style), soft_wrap=True)


def show(result: Mapping[str, Any] | None, table: "RenderableType | str | None", *, as_json: bool) -> None:
    """Print the result: one JSON object, or the table."""
    if as_json and result is not None:
        print_json(result)
    elif not as_json and table is not None:
        with speaking():
            if isinstance(table, str):
                print(table)
            else:
                console().print(table, crop=False)  # a table that is too wide loses no number


class TerminalReporter(Reporter):
    """Draws progress with the time left on stderr, and says each note once."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Progress]:
        """A bar while the stage lasts; without a terminal, one line when it is done."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        stderr = console(stderr=True)
        if stderr.is_terminal and total:
            left = (MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            shown = (TextColumn("{task.description:<14}", markup=False), BarColumn(), *left)
            with Bar(*shown, console=stderr, transient=True) as bar:
                task = bar.add_task(visible(name), total=total)
                yield lambda done: bar.advance(task, done)
            return
        counted = list[int]()
        yield counted.append
        if total:
            say(f"{name}: {sum(counted) or total} examples done")

    def say(self, note: str) -> None:
        """One yellow line."""
        say(f"note: {note}", "yellow")
