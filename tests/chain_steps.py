"""Steps of chains, importable by the processes that do them."""

import os
import signal
import sys
import time
from pathlib import Path

from prune_heads.errors import DataError


def append(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(text)


def say(text: str) -> None:
    print(text, file=sys.stderr, end="")


def fail() -> None:
    raise DataError("the data must be there")


def stay(file: Path) -> None:
    """Longer than any test; `file` says who."""
    file.write_text(str(os.getpid()))
    time.sleep(300)


def die(file: Path) -> None:
    """As by a lack of memory, once another process stays in `file`."""
    wait_for(file)
    os.kill(os.getpid(), signal.SIGKILL)


def fail_after(file: Path) -> None:
    wait_for(file)
    fail()


def wait_for(file: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not (file.exists() and file.read_text()):
        if time.monotonic() > end:
            raise TimeoutError(f"{file.name} was not written in {seconds} seconds")
        time.sleep(0.05)
