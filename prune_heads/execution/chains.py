"""Chains of work side by side, each in a process of its own: what one chain does, it does in order."""

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import TextIO

from prune_heads.errors import RunError

Step = Callable[[], None]
"""Importable by name, or a partial of such a function."""


@dataclass(frozen=True)
class Chain:
    """Steps that need what the ones before them leave."""

    name: str
    """Stands before each line that its process writes to stderr."""
    steps: Sequence[Step]


def run_chains(chains: Sequence[Chain], jobs: int) -> None:
    """Work through the chains in `jobs` processes; the first error ends all.

    A process that starts others does not outlive an error, Ctrl-C or a kill of this one, so whoever starts the same
    work again has it for himself.

    Args:
        chains: Independent of each other.
        jobs: Processes; the threads of this one are shared evenly, each has at least one.

    Raises:
        RunError: If a process was killed.
        Exception: What a step raises; it must go through `pickle`.
    """
    jobs = min(jobs, len(chains))
    if not jobs:
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks, and no GPU
    with ProcessPoolExecutor(jobs, context, _begin, (jobs,)) as pool:
        try:
            for done in as_completed([pool.submit(_work, chain) for chain in chains]):
                done.result()
        except BrokenProcessPool as error:
            raise RunError(
                f"the {jobs} processes must live until they are done; one was killed, often for memory. The same "
                "command goes on; take fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.kill()


def _begin(jobs: int) -> None:
    """In each process, before its first chain."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the terminal sends it to all; the parent says what it means
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(chain: Chain) -> None:
    with redirect_stderr(_Named(sys.stderr, chain.name)) as said:
        for step in chain.steps:
            step()
        said.write("\n" * bool(said.rest))


class _Named(io.TextIOBase):
    """Whole lines with a name before each; no terminal, so nobody draws bars over those of others."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name, self.rest = stream, name, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        self.stream.write("".join(f"{self.name}: {line}\n" for line in lines))
        self.stream.flush()
        return len(text)
