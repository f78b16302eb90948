"""Doubles of the work, not of the machinery: parts are numbers, which are squared, wait, fail or end their worker."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from prune_heads.errors import DataError


@dataclass(frozen=True)
class Begin:
    """Leaves the file `load.<pid>.<threads>` for every load, and `<part>.<pid>.<time>` for every start of a part."""

    log: Path
    dies: int | None = None
    deaths: int = 1
    """How often that part ends its worker."""
    fails: tuple[int, ...] = ()
    refuses: bool = False
    """To load."""
    crashes: bool = False
    """As it loads."""

    def __call__(self, threads, number):
        (self.log / f"load.{os.getpid()}.{threads}").touch()
        if self.refuses:
            raise DataError("no part will be done")
        if self.crashes:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.do

    def do(self, part):
        before = len(list(self.log.glob(f"{part}.*")))
        (self.log / f"{part}.{os.getpid()}.{time.monotonic_ns()}").touch()
        time.sleep(0.1 if part not in self.fails else 0.3 / (part + 1))  # a later part fails sooner
        if part == self.dies and before < self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        if part in self.fails:
            raise DataError(f"part {part} cannot be done")
        if part == 666:
            raise ZeroDivisionError("a fault of the program")
        return part * part
