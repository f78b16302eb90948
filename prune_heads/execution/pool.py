"""Workers that do one unit of work after another in processes of their own; one that dies is replaced.

A unit is whatever its workers take: a trial of a sweep, a shard of batches, a chain of steps.
"""

import heapq
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import redirect_stderr, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Self, TextIO

from prune_heads.errors import PruneHeadsError, RunError, first_line

Begin = Callable[[int], Callable[[Any], Any]]  # called in each worker with its number, from 0; gives what does a unit

Tell = Callable[[Any, Any], None]  # called with a unit that is done, and what was found
Chain = tuple[str, Sequence[Callable[[], None]]]
"""Steps, each of which needs what the ones before it leave: importable by name, or partials of such functions. The name
stands before each line that their process writes to stderr."""

MOST_DEATHS = 3  # workers that may die of one unit, or in a row before they have loaded
_LOADING = "loading"


class LostError(Exception):
    """A worker's process or node is gone; the message says how."""


class Pool:
    """So many workers, which are processes of this machine. Use it in a `with` block, which ends them all.

    Others live elsewhere: the link to each has `number`, `send(unit)`, `receive()`, `kill()`. The first answer is that
    it has loaded; then it answers each unit. An answer may be what the worker raised, or `LostError`.
    """

    def __init__(self, begin: Begin, n: int) -> None:
        self.begin, self.n = begin, n
        self.doing: dict[Any, Hashable] = {}  # link -> the name of a unit; None: it waits for one
        self.n_deaths: Counter[int] = Counter()  # number -> deaths in a row, before it had loaded

    def start(self, number: int) -> Any:
        """The link to a new worker, which loads by itself."""
        return _Process(self.begin, number)

    def heard(self, seconds: float) -> Iterable[Any]:
        """The links that have an answer, or whose worker is gone."""
        ready = wait([link.ear for link in self.doing], seconds)
        return [link for link in self.doing if link.ear in ready]

    def __enter__(self) -> Self:
        self.doing = dict.fromkeys(map(self.start, range(self.n)), _LOADING)
        return self

    def __exit__(self, *error: object) -> None:
        for link in self.doing:
            link.kill()

    @property
    def has_room(self) -> bool:
        """Whether a worker has loaded and has nothing to do."""
        return None in self.doing.values()

    def submit(self, name: Hashable, unit: Any) -> None:
        """Hand a unit to a worker with nothing to do."""
        link = next(link for link, doing in self.doing.items() if doing is None)
        self.doing[link] = name
        link.send(unit)

    def wait(self, seconds: float) -> list[tuple[Any, Any]]:
        """The names of the units that have ended, each with its answer or exception; `LostError` if its worker died.

        Raises what a worker raised as it loaded, and a `RunError` if the last one cannot be started.
        """
        ended: list[tuple[Any, Any]] = []
        for link in self.heard(seconds):
            name, self.doing[link] = self.doing[link], None
            answer = link.receive()
            if isinstance(answer, LostError):
                link.kill()
                del self.doing[link]
                number, was_loading = link.number, name == _LOADING
                self.n_deaths[number] = was_loading * (self.n_deaths[number] + 1)
                if self.n_deaths[number] < MOST_DEATHS:
                    self.doing[self.start(number)] = _LOADING
                elif not self.doing:
                    said = f"worker {number + 1} died {MOST_DEATHS} times in a row while it loaded ({answer})"
                    needs = "Each needs prune-heads, and memory for the model"
                    raise RunError(f"workers must start; {said}. {needs}") from answer
            elif isinstance(answer, Exception) and name == _LOADING:
                said = f"workers must start; one says {type(answer).__name__}: {first_line(answer)}"
                raise answer if isinstance(answer, PruneHeadsError) else RunError(said) from answer
            if name not in (None, _LOADING):
                ended.append((name, answer))
        return ended


class _Process:
    """A worker has a pipe of its own, so what it said before it was killed has arrived."""

    def __init__(self, begin: Begin, number: int) -> None:
        self.number = number
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
            return self.ear.recv()
        except (EOFError, OSError):
            self.process.join()
            return LostError(f"exit code {self.process.exitcode}")

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.ear.close()


def _work(mouth: Connection, begin: Begin, number: int) -> None:
    """The body of a process, which ends with the one that started it, even by a kill."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent says what it means
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    with suppress(BrokenPipeError, EOFError):  # the parent has closed the pipe, or is gone
        work = outcome(begin, number)
        mouth.send(work if isinstance(work, Exception) else None)
        while not isinstance(work, Exception):
            mouth.send(outcome(work, mouth.recv()))


def outcome(function: Callable[[Any], Any], argument: Any) -> Any:
    """What a function gives, or what it raises, with a note of where that came from, which no pipe carries."""
    try:
        return function(argument)
    except Exception as error:
        told, raised = "".join(traceback.format_exception(error)), error
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # a library may raise what no pipe carries either
            raised = RunError(f"{type(error).__name__}: {first_line(error)}")
        raised.add_note(told)
        return raised


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def do_all(
    pool: Pool, units: Sequence[Any], lost: str, tell: Tell = lambda unit, found: None, *, at_once: bool = False
) -> list[Any]:
    """What the workers find of each unit, in the order of the units; a unit whose worker dies is the next one again.

    Args:
        pool: Whose workers have begun.
        units: Best those that take longest first.
        lost: What a `RunError` says where `MOST_DEATHS` workers have died of a `{unit}`, the last one by `{how}`.
        tell: Called here, of each unit that is done.
        at_once: An error or a death ends all. Else the error is that of the first unit that fails, as in one process.
    """
    waiting = list(range(len(units)))  # a heap
    found: dict[int, Any] = {}
    n_lost: Counter[int] = Counter()
    errors: dict[int, PruneHeadsError] = {}
    while {*range(failed := min(errors, default=len(units)))} - found.keys():  # after a failure only those before it
        while waiting and waiting[0] < failed and pool.has_room:
            i = heapq.heappop(waiting)
            pool.submit(i, units[i])
        for i, answer in pool.wait(seconds=1):
            if isinstance(answer, LostError):
                n_lost[i] += 1
                if at_once or n_lost[i] >= MOST_DEATHS:
                    raise RunError(lost.format(unit=f"{i + 1} of {len(units)}", how=answer)) from answer
                heapq.heappush(waiting, i)
            elif isinstance(answer, PruneHeadsError) and not at_once:
                errors[i] = answer
            elif isinstance(answer, Exception):
                raise answer
            else:
                found[i] = answer
                tell(units[i], answer)
    if errors:
        raise errors[min(errors)]
    return [found[i] for i in range(len(units))]


class _Named(io.TextIOBase):
    """Writes whole lines with a name before each; no terminal, so no progress bars are drawn."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name, self.rest = stream, name, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        self.stream.write("".join(f"{self.name}: {line}\n" for line in lines))
        self.stream.flush()
        return len(text)


def run_chains(chains: Sequence[Chain], jobs: int, *, share_threads: bool = True) -> None:
    """Work through independent chains in `jobs` processes, which share the threads of torch; the first error ends all.

    It is what a step raises, which must go through `pickle`, or a `RunError` if a process was killed. The processes
    also end on Ctrl-C and when this one is killed, so that the same work can be started again.
    """
    must = "the processes of --jobs must live until they are done; one was killed, often for memory"
    with Pool(partial(_begin, jobs if share_threads else None), min(jobs, len(chains))) as pool:
        do_all(pool, chains, f"{must}. The same command goes on; take fewer --jobs", at_once=True)


def _begin(jobs: int | None, number: int) -> Callable[[Chain], None]:
    if jobs:
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // jobs))

    def in_order(chain: Chain) -> None:
        name, steps = chain
        with redirect_stderr(_Named(sys.stderr, name)) as said:
            try:
                for step in steps:
                    step()
            finally:
                said.write("\n" * bool(said.rest))

    return in_order
