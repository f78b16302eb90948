"""The command line in forks of this process: processes that can be limited, counted and killed, and start at once."""

import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prune_heads.cli.app import main

CRASHED = 70


@dataclass(frozen=True)
class Ended:
    """How a process ended; a negative code is the signal that killed it."""

    code: int
    stdout: str
    stderr: str


class Forked:
    """A running `prune-heads`."""

    def __init__(
        self,
        streams: Path,
        *words: object,
        before: Callable[[], None] = lambda: None,
        program: Callable[[], None] = main,
    ) -> None:
        """Start it.

        Args:
            streams: A new folder for what it prints.
            words: Its arguments.
            before: Called in the new process first, e.g. to limit it.
            program: What runs instead.
        """
        self.streams, self.program = streams, program
        streams.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # later Pythons warn of threads, a test worker's
            self.pid = os.fork()
        if self.pid == 0:
            code = CRASHED
            try:
                code = self._run(words, before)
            finally:
                os._exit(code)

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Until it has said so on stderr."""
        end = time.monotonic() + seconds
        said = self.streams / "stderr"
        while not said.is_file() or text not in said.read_text():
            if time.monotonic() > end:
                raise TimeoutError(f"{text!r} was not said in {seconds} seconds")
            time.sleep(0.01)

    def wait(self) -> Ended:
        """Until it has ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return Ended(code, *((self.streams / name).read_text() for name in ("stdout", "stderr")))

    def _run(self, words: tuple[object, ...], before: Callable[[], None]) -> int:
        sys.stdout = (self.streams / "stdout").open("w")
        sys.stderr = (self.streams / "stderr").open("w", buffering=1)  # a line at a time, as a real one
        sys.argv = ["prune-heads", *map(str, words)]
        try:
            before()
            self.program()
            return 0
        except SystemExit as end:
            return int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            return CRASHED
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
