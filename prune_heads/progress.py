"""How long-running work tells where it is; the terminal draws it, tests and scripts stay silent."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

Progress = Callable[[int], None]  # called with the number of examples done since the last call

Admit = Callable[[dict[str, Any]], None]  # called with a run's identity before its long work; it may refuse by raising


def silent(done: int) -> None:
    """The progress of who does not want to be told."""


class Reporter:
    """Who is told what a study does. This one collects notes and draws nothing."""

    def __init__(self, admit: Admit = lambda identity: None) -> None:
        self.admit = admit
        self.notes: list[str] = []  # what has been noted so far; records keep it

    def stage(self, name: str, total: int) -> AbstractContextManager[Progress]:
        """Begin a stage of `total` examples."""
        return nullcontext(silent)

    def note(self, *texts: str) -> None:
        """Things that the reader of the result must know; each once."""
        for text in texts:
            if text not in self.notes:
                self.notes.append(text)
                self.say(text)

    def say(self, note: str) -> None:
        """Show a note that is new."""


class _OneStage(Reporter):
    """Notes go on to another reporter; what would be stages is progress of one."""

    def __init__(self, outer: Reporter, progress: Progress) -> None:
        super().__init__(outer.admit)
        self.outer, self.progress = outer, progress

    def stage(self, name: str, total: int) -> AbstractContextManager[Progress]:
        return nullcontext(self.progress)

    def note(self, *texts: str) -> None:
        self.outer.note(*texts)


@contextmanager
def one_stage(of: Any, name: str, total: int) -> Iterator[None]:
    """For the length of the block all stages of what has a `reporter` are one."""
    outer: Reporter = of.reporter
    with outer.stage(name, total) as progress:
        of.reporter = _OneStage(outer, progress)
        try:
            yield
        finally:
            of.reporter = outer
