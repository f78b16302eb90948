"""Chains of work side by side, each in a process of its own: what one chain does, it does in order."""

import io
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TextIO

from prune_heads.errors import PruneHeadsError, RunError
from prune_heads.execution.parent import end_with_parent

Step = Callable[[], None]
"""Importable by name, or a partial of such a function."""


@dataclass(frozen=True)
class Chain:
    """Steps that need what the ones before them leave."""

    name: str
    """Stands before each line that its process writes to stderr."""
    steps: Sequence[Step]


def share_threads(jobs: int) -> None:
    """Take the part of one process of so many in the threads of torch."""
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def run_chains(chains: Sequence[Chain], jobs: int, prepare: Callable[[int], None] = share_threads) -> None:
    """Work through the chains in `jobs` processes; the first error ends all.

    A process that starts others does not outlive an error, Ctrl-C or a kill of this one, so whoever starts the same
    work again has it for himself.

    Args:
        chains: Independent of each other.
        jobs: Processes.
        prepare: Called in each with their number; shares the threads evenly, each has at least one.

    Raises:
        RunError: If a process was killed.
        Exception: What a step raises; it must go through `pickle`.
    """
    waiting = list(chains)
    workers: dict[Connection, SpawnProcess] = {}
    try:
        for _ in range(min(jobs, len(chains))):
            ear, worker = _start(jobs, prepare)
            workers[ear] = worker
            ear.send(waiting.pop(0))
        while workers:
            for ear in [each for each in wait(list(workers)) if isinstance(each, Connection)]:
                _hear(ear)
                if waiting:
                    ear.send(waiting.pop(0))
                else:
                    ear.close()  # which ends it
                    workers.pop(ear).join()
    finally:
        for worker in workers.values():
            worker.kill()
            worker.join()


def _start(jobs: int, prepare: Callable[[int], None]) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks, and no GPU
    ear, mouth = context.Pipe()
    worker = context.Process(target=_work, args=(mouth, jobs, prepare))
    worker.start()
    mouth.close()  # of ours: the worker's end alone keeps it open, so that a death is heard
    return ear, worker


def _hear(ear: Connection) -> None:
    """Returns when a chain is done."""
    try:
        error = ear.recv()
    except (EOFError, OSError) as died:
        raise RunError(
            "the processes of --jobs must live until they are done; one was killed, often for memory. The same command "
            "goes on; take fewer --jobs"
        ) from died
    if error is not None:
        raise error


def _work(mouth: Connection, jobs: int, prepare: Callable[[int], None]) -> None:
    """The body of a process: chains, until there is none."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the terminal sends it to all; the parent says what it means
    end_with_parent()
    prepare(jobs)
    while True:
        try:
            chain = mouth.recv()
        except EOFError:
            return
        mouth.send(_error_of(chain))


def _error_of(chain: Chain) -> Exception | None:
    """What went wrong in a chain; None if nothing did."""
    with redirect_stderr(_Named(sys.stderr, chain.name)) as said:
        try:
            for step in chain.steps:
                step()
        except Exception as error:
            if not isinstance(
                error, PruneHeadsError
            ):  # where it came from does not go through a pipe by itself
                error.add_note("".join(traceback.format_exception(error)))
            return error
        finally:
            said.write("\n" * bool(said.rest))
    return None


class _Named(io.TextIOBase):
    """Whole lines with a name before each; no terminal, so nobody draws bars over those of others."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name, self.rest = stream, name, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        self.stream.write("".join(f"{self.name}: {line}\n" for line in lines))
        self.stream.flush()
        return len(text)
