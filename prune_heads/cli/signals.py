"""Ctrl-C and a kill end the program as exceptions, so that temporary files are removed on the way out."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer

INTERRUPTED = 130
TERMINATED = 143
PIPE_CLOSED = 141  # as of a program that SIGPIPE ends, as it does `cat`: whoever reads has enough

_AGAIN_SECONDS = 0.02


def install() -> None:
    """Turn SIGINT into KeyboardInterrupt and SIGTERM into exit code 143, wherever they arrive.

    Python swallows what is raised in a `__del__`, and the libraries below have some that the garbage collector
    calls at any time (`evaluate.Metric`, `datasets.Dataset`): there the signal waits and comes again.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; pressed again, it interrupts."""
    pressed: list[bool] = []
    before = signal.getsignal(signal.SIGINT)

    def press(number: int, frame: FrameType | None) -> None:
        if not pressed:
            pressed.append(True)
            typer.echo("note: running trials finish, no other begins; Ctrl-C again stops them", err=True)
            return
        signal.signal(signal.SIGINT, before)
        if callable(before):
            before(number, frame)
        else:  # a shell's background job, which ignored it
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _stop(number: int, frame: FrameType | None) -> None:
    if _in_finalizer(frame) and hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda _, later: _stop(number, later))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
    elif number == signal.SIGINT:
        raise KeyboardInterrupt
    else:
        sys.exit(TERMINATED)


def _in_finalizer(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
