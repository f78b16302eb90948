"""How long-running work tells where it is; the terminal draws it, tests and scripts stay silent."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Progress = Callable[[int], None]
"""Called with the number of examples done since the last call."""


def silent(done: int) -> None:
    """The progress of who does not want to be told."""


class Reporter(Protocol):
    """Who is told what a study does."""

    @property
    def notes(self) -> list[str]:
        """What has been noted so far; records keep it."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Progress]:
        """Begin a stage of `total` examples."""

    def note(self, text: str) -> None:
        """Something that the reader of the result must know."""


class Silent:
    """A reporter that collects notes and draws nothing."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def stage(self, name: str, total: int) -> AbstractContextManager[Progress]:
        """See `Reporter`."""
        return nullcontext(silent)

    def note(self, text: str) -> None:
        """See `Reporter`; each once."""
        if text not in self.notes:
            self.notes.append(text)
