"""A worker on the folder of a sweep: it claims trials, runs them in a pool, and keeps their records.

Any number of workers may work on one folder. A trial that is done is never run again, since its record is looked for
before and after the claim. A worker that finds only trials of others left waits for them and takes over those of
workers that die.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Literal

from prune_heads.errors import PruneHeadsError, first_line
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.pool import MOST_DEATHS, LostError, Pool
from prune_heads.execution.spec import Trial, Values
from prune_heads.files import clear_left_over

RunTrial = Callable[[Trial], Mapping[str, Any]]  # Trial -> record. Raises whatever goes wrong.
BeginTrials = Callable[[], RunTrial]
Workers = Callable[[BeginTrials, int], AbstractContextManager[Pool]]  # starts a pool of them, for so many trials

LOOK_SECONDS = 0.5  # between two looks at what others are working on
BACK_OFF_SECONDS = 1.0  # before the first new attempt of a trial that failed; doubled for each one after it
_OF_DEATHS = f"{MOST_DEATHS} workers have died of it (exit code -9 is a kill, often for memory)"
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, without their whole parts, lie far apart, however many are taken


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial."""

    # `failed` for good; `retried` if there is another attempt; `taken`: someone else has finished it.
    kind: Literal["started", "done", "failed", "retried", "taken"]
    digest: str
    values: Values
    seconds: float = 0.0
    error: str = ""
    result: Mapping[str, Any] | None = None


Tell = Callable[[Event], None]


def turned(trials: Sequence[Trial], number: int) -> list[Trial]:
    """The same trials from another place in the list on, so that workers of any numbers rarely meet."""
    start = int(number * _GOLDEN % 1 * len(trials))
    return [*trials[start:], *trials[:start]]


def processes(jobs: int, threads: int = 1, gpus: Sequence[str] = ()) -> Workers:
    """Trials run in so many processes here. They take the GPUs, as `CUDA_VISIBLE_DEVICES` names them, in turn.

    They share the threads evenly, each at least one. One job alone takes as many as it likes.
    """
    limit = max(1, threads // jobs) if jobs > 1 else None
    return lambda begin, n: Pool(partial(begin_trials, begin, limit, gpus), min(jobs, n))


def actors(address: str | None = None, jobs: int | None = None, cpus: float = 1.0, gpus: float = 0.0) -> Workers:
    """Trials run in actors on a Ray cluster. The folder of the sweep must be on a file system that all nodes share.

    There are so many `jobs`, or as many as the cluster has room for, each with so many cores and GPUs; for the address
    see `connected`.
    """
    from prune_heads.execution.cluster import Actors, connected

    @contextmanager
    def start(begin: BeginTrials, n: int) -> Iterator[Pool]:
        with connected(address) as ray:
            there, wanted = ray.cluster_resources(), {"CPU": cpus, "GPU": gpus}
            room = min(int(there.get(name, 0) // amount) for name, amount in wanted.items() if amount)
            in_one = partial(begin_trials, begin, max(1, int(cpus)), ())
            with Actors(ray, in_one, min(jobs or max(1, room), n), cpus=cpus, gpus=gpus) as pool:
                yield pool

    return start


@dataclass
class Worker:
    """Works through the trials of a sweep until none is left."""

    folder: SweepFolder
    trials: Sequence[Trial]  # all of the sweep, done or not
    begin: BeginTrials  # called once in each process, for what runs its trials; importable by name
    workers: Workers
    tell: Tell = lambda event: None
    stopping: Callable[[], bool] = lambda: False  # asked before a trial is begun
    _: KW_ONLY
    retries: int = 0  # further attempts of a trial that fails
    stop_after: int | None = None  # failures (for good, of this worker) after which no trial is begun; None: go on
    waits: bool = True  # for the trials of living others, to take over if they die
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    n_done: int = 0
    n_failed: int = 0  # for good

    def __post_init__(self) -> None:
        self.claims = self.folder.claims()
        self._running: dict[str, tuple[Trial, float]] = {}
        self._not_before: dict[str, float] = {}

    def work(self) -> None:
        """Run what is neither done nor failed. Returns when all are, or when it is told to stop.

        A worker that does not wait also returns when others have all that is left and were seen alive. A `RunError` if
        records cannot be kept (a full disk: no trial is to blame), or workers do not start.
        """
        listed = {*self.folder.done(), *self.folder.failed()}  # the records of these alone are read
        left = [trial for trial in self.trials if trial.digest not in listed or not self._is_settled(trial)]
        if left:
            with self.claims.beating(), self.workers(self.begin, len(left)) as pool:
                self._work(deque(left), pool)

    def _work(self, waiting: deque[Trial], pool: Pool) -> None:
        while waiting or self._running:
            n_passed = 0  # trials in a row that are not for us now
            while waiting and pool.has_room and n_passed < len(waiting) and not self._stops():
                trial = waiting.popleft()
                if self._take(trial, pool):
                    n_passed = 0
                else:
                    waiting.append(trial)
                    n_passed += 1
            if self._stops():
                waiting.clear()
            if self._running or not pool.has_room:
                for digest, answer in pool.wait(LOOK_SECONDS):
                    waiting.extend(self._ended(digest, answer))
            elif waiting:
                theirs = (not self._rests(trial) and self.claims.has_beaten(trial.digest) for trial in waiting)
                if not self.waits and all(theirs):
                    return
                self.sleep(LOOK_SECONDS)

    def _take(self, trial: Trial, pool: Pool) -> bool:
        """Settle a trial, or have it run; False if it must wait, or someone else has it."""
        if self._rests(trial):
            return False
        if not (self._is_settled(trial) or self.claims.holds(trial.digest) or self.claims.take(trial.digest)):
            return False
        if self._is_settled(trial):  # perhaps by who held the claim before us
            self.claims.give_back(trial.digest)
            self.tell(Event("taken", trial.digest, trial.values))
            return True
        clear_left_over(self.folder.trial(trial.digest))  # of a process that died of, or in, this trial
        if self.claims.n_deaths(trial.digest) >= MOST_DEATHS:
            return not self._failed(trial, _OF_DEATHS, "", 0.0)
        self.tell(Event("started", trial.digest, trial.values))
        self._running[trial.digest] = trial, self.clock()
        pool.submit(trial.digest, trial)
        return True

    def _is_settled(self, trial: Trial) -> bool:
        """Whether a trial is done or has failed for good."""
        return self.folder.is_done(trial.digest) or self.folder.n_failures(trial.digest) > self.retries

    def _ended(self, digest: str, answer: Any) -> list[Trial]:
        """Keep what came of a trial; the trial, if it must be run again."""
        trial, start = self._running.pop(digest)
        seconds = self.clock() - start
        if isinstance(answer, LostError):
            self.claims.count_death(digest)
            return [trial]
        if isinstance(answer, Exception):
            kind = "" if isinstance(answer, PruneHeadsError) else f"{type(answer).__name__}: "
            return self._failed(trial, kind + first_line(answer), "".join(getattr(answer, "__notes__", ())), seconds)
        kept = self.claims.holds(digest) and self.folder.finish(trial, answer, seconds)
        self.n_done += kept
        self.claims.give_back(digest)
        self.tell(Event("done" if kept else "taken", digest, trial.values, seconds, result=answer))
        return []

    def _failed(self, trial: Trial, error: str, told: str, seconds: float) -> list[Trial]:
        """Keep a failure; the trial, if there is another attempt."""
        n = self.folder.fail(trial, error, told)
        self.claims.give_back(trial.digest)
        final = n > self.retries
        self.n_failed += final
        self._not_before[trial.digest] = self.clock() + BACK_OFF_SECONDS * 2.0 ** (n - 1)
        self.tell(Event("failed" if final else "retried", trial.digest, trial.values, seconds, error))
        return [] if final else [trial]

    def _rests(self, trial: Trial) -> bool:
        return self._not_before.get(trial.digest, 0.0) > self.clock()

    def _stops(self) -> bool:
        return (self.stop_after is not None and self.n_failed >= self.stop_after) or self.stopping()


def begin_trials(begin: BeginTrials, threads: int | None, gpus: Sequence[str], number: int) -> RunTrial:
    """What runs the trials of a process of its own; first limit what it takes of the machine."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return begin()
