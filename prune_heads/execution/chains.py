"""Chains of work side by side, each in a process: the steps of one chain run in order."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from prune_heads.errors import RunError
from prune_heads.execution.pool import LostError, Pool
from prune_heads.execution.processes import Processes

Step = Callable[[], None]
"""Importable by name, or a partial of such a function."""


@dataclass(frozen=True)
class Chain:
    """Steps, each of which needs what the ones before it leave."""

    name: str
    """Stands before each line that its process writes to stderr."""
    steps: Sequence[Step]

    def run(self) -> None:
        """Do all steps."""
        with redirect_stderr(_Named(sys.stderr, self.name)) as said:
            try:
                for step in self.steps:
                    step()
            finally:
                said.write("\n" * bool(said.rest))


def share_threads(jobs: int) -> None:
    """Limit torch to one process's part of the threads, of so many processes."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def run_chains(chains: Sequence[Chain], jobs: int, prepare: Callable[[int], None] = share_threads) -> None:
    """Work through the chains in `jobs` processes; the first error ends all.

    The processes also end on Ctrl-C and when this one is killed, so that the same work can be started again.

    Args:
        chains: Independent of each other.
        jobs: Processes.
        prepare: Called in each with their number; shares the threads evenly, each has at least one.

    Raises:
        RunError: If a process was killed.
        Exception: What a step raises; it must go through `pickle`.
    """
    waiting = list(chains)
    with Pool[str](Processes(partial(_begin, prepare, jobs)), min(jobs, len(chains))) as pool:
        while waiting or pool.is_working:
            while waiting and pool.has_room:
                pool.submit(waiting[0].name, waiting.pop(0))
            for _, answer in pool.wait(seconds=1):
                if isinstance(answer, LostError):
                    raise RunError(
                        "the processes of --jobs must live until they are done; one was killed, often for memory. "
                        "The same command goes on; take fewer --jobs"
                    ) from answer
                if isinstance(answer, Exception):
                    raise answer


def _begin(prepare: Callable[[int], None], jobs: int, number: int) -> Callable[[Chain], None]:
    prepare(jobs)
    return Chain.run


class _Named(io.TextIOBase):
    """Writes whole lines with a name before each; no terminal, so no progress bars are drawn."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name, self.rest = stream, name, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        self.stream.write("".join(f"{self.name}: {line}\n" for line in lines))
        self.stream.flush()
        return len(text)
