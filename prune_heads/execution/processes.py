"""Workers that are processes of this machine; they end with the process that started them."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from prune_heads.errors import PruneHeadsError
from prune_heads.execution.pool import Begin, LostError


@dataclass(frozen=True)
class Processes:
    """See `Crew`."""

    begin: Begin

    def start(self, number: int) -> "_Link":
        """Start a process."""
        return _Link(self.begin, number)

    def wait(self, links: Sequence["_Link"], seconds: float) -> list["_Link"]:
        """See `Crew`."""
        ready = wait([link.ear for link in links], seconds)
        return [link for link in links if link.ear in ready]


class _Link:
    """See `Link`. Each worker has a pipe of its own, so what it said before it was killed has arrived."""

    def __init__(self, begin: Begin, number: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks, and no GPU
        self.ear, mouth = context.Pipe()
        self.process = context.Process(target=_work, args=(mouth, begin, number), name=f"worker-{number + 1}")
        self.process.start()
        mouth.close()  # the worker's copy alone keeps the pipe open, so that a death is noticed

    def send(self, unit: Any) -> None:
        with suppress(BrokenPipeError):  # it has just died, which `receive` tells
            self.ear.send(unit)

    def receive(self) -> Any:
        try:
            value, error = self.ear.recv()
        except (EOFError, OSError) as died:
            self.process.join()
            raise LostError(f"exit code {self.process.exitcode}") from died
        if error is not None:
            raise error
        return value

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.ear.close()


def _work(mouth: Connection, begin: Begin, number: int) -> None:
    """The body of a worker."""
    # The terminal sends Ctrl-C to all processes; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    with suppress(BrokenPipeError, EOFError):  # the parent has closed the pipe, or is gone
        work, error = _outcome(begin, number)
        mouth.send((None, error))
        while error is None:
            mouth.send(_outcome(work, mouth.recv()))


def _outcome(function: Callable[[Any], Any], argument: Any) -> tuple[Any, Exception | None]:
    """What a function gives, or raises."""
    try:
        return function(argument), None
    except Exception as error:
        if not isinstance(error, PruneHeadsError):  # a pipe does not carry where it came from
            error.add_note("".join(traceback.format_exception(error)))
        return None, error


def _end_with_parent() -> None:
    """Wait for the end of the process that started this one, even by a kill, and end too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
