"""Ctrl-C in two steps: the first asks to stop, the second stops."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import typer


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
