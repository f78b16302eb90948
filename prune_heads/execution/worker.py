"""A worker on the folder of a sweep: it claims trials, runs them in a pool, and keeps their records.

Any number of workers may work on one folder. A trial that is done is never run again, since its record is looked for
before and after the claim. A worker that finds only trials of others left waits for them and takes over those of
workers that die.
"""

import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from prune_heads.errors import PruneHeadsError, first_line
from prune_heads.execution.claims import Claims
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.pool import MOST_DEATHS, Begin, LostError, Pool
from prune_heads.execution.processes import Processes
from prune_heads.execution.spec import Trial, Values

RunTrial = Callable[[Trial], Mapping[str, Any]]
"""Trial -> record. Raises whatever goes wrong."""
Workers = Callable[[Begin, int], AbstractContextManager[Pool[str]]]
"""Starts the workers of a pool, for so many trials."""

LOOK_SECONDS = 0.5
"""Between two looks at what others are working on."""
BACK_OFF_SECONDS = 1.0
"""Before the first new attempt of a trial that failed; doubled for each one after it."""
_OF_DEATHS = f"{MOST_DEATHS} workers have died of it (exit code -9 is a kill, often for memory)"
_GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, without their whole parts, lie far apart, however many are taken."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial."""

    kind: Literal["started", "done", "failed", "retried", "taken"]
    """`failed` for good; `retried` if there is another attempt; `taken`: someone else has finished it."""
    digest: str
    values: Values
    seconds: float = 0.0
    error: str = ""
    result: Mapping[str, Any] | None = None


Tell = Callable[[Event], None]
Stopping = Callable[[], bool]
"""Whether no further trial is to be begun."""


@dataclass(frozen=True)
class Job:
    """Trials, and how they are run."""

    folder: SweepFolder
    trials: Sequence[Trial]
    """All of the sweep, done or not."""
    begin: Callable[[], RunTrial]
    """Called once in each process, for what runs its trials; importable by name."""
    retries: int = 0
    """Further attempts of a trial that fails."""
    stop_after: int | None = None
    """Failures (for good, of this worker) after which no trial is begun; None: go on."""

    def unsettled(self) -> list[Trial]:
        """The trials that are neither done nor failed for good; of those that are done the records are read."""
        listed = {*self.folder.done(), *self.folder.failed()}
        return [trial for trial in self.trials if trial.digest not in listed or not self.is_settled(trial)]

    def is_settled(self, trial: Trial) -> bool:
        """Whether a trial is done or has failed for good."""
        return self.folder.is_done(trial.digest) or self.folder.n_failures(trial.digest) > self.retries

    def turned(self, number: int) -> "Job":
        """The same trials from another place in the list on, so that workers of any numbers rarely meet."""
        start = int(number * _GOLDEN % 1 * len(self.trials))
        return replace(self, trials=[*self.trials[start:], *self.trials[:start]])


def processes(jobs: int, threads: int = 1, gpus: Sequence[str] = ()) -> Workers:
    """Trials run in processes of this machine.

    Args:
        jobs: Processes.
        threads: Of all jobs together, shared evenly, each at least one. One job alone takes as many as it likes.
        gpus: As `CUDA_VISIBLE_DEVICES` names them: the jobs take them in turn.
    """
    limit = max(1, threads // jobs) if jobs > 1 else None
    return lambda begin, n: Pool(Processes(partial(_begin_with, begin, limit, gpus)), min(jobs, n))


def actors(address: str | None = None, jobs: int | None = None, cpus: float = 1.0, gpus: float = 0.0) -> Workers:
    """Trials run in actors on a Ray cluster. The folder of the sweep must be on a file system that all nodes share.

    Args:
        address: See `connected`.
        jobs: Actors; None: as many as the cluster has room for.
        cpus: Cores of an actor.
        gpus: GPUs of an actor.
    """
    from prune_heads.execution.cluster import Actors, connected

    @contextmanager
    def start(begin: Begin, n: int) -> Iterator[Pool[str]]:
        with connected(address) as ray:
            there, wanted = ray.cluster_resources(), {"CPU": cpus, "GPU": gpus}
            room = min(int(there.get(name, 0) // amount) for name, amount in wanted.items() if amount)
            crew = Actors(ray, partial(_begin_with, begin, max(1, int(cpus)), ()), cpus=cpus, gpus=gpus)
            with Pool[str](crew, min(jobs or max(1, room), n)) as pool:
                yield pool

    return start


@dataclass
class Worker:
    """Works through the trials of a job until none is left."""

    job: Job
    workers: Workers
    tell: Tell = lambda event: None
    stopping: Stopping = lambda: False
    """Asked before a trial is begun."""
    waits: bool = True
    """For the trials of living others, to take over if they die."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    n_done: int = 0
    n_failed: int = 0
    """For good."""
    claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        self.claims = self.job.folder.claims()
        self._running: dict[str, tuple[Trial, float]] = {}
        self._not_before: dict[str, float] = {}

    def work(self) -> None:
        """Run what is neither done nor failed. Returns when all are, or when it is told to stop.

        A worker that does not wait also returns when others have all that is left and were seen alive.

        Raises:
            RunError: If records cannot be kept (a full disk: no trial is to blame), or workers do not start.
        """
        left = self.job.unsettled()
        if not left:
            return
        with self.claims.beating():
            try:
                with self.workers(partial(_begin, self.job.begin), len(left)) as pool:
                    self._work(deque(left), pool)
            finally:  # after an error or a second Ctrl-C no trial is to blame
                self.claims.give_back_all()

    def _work(self, waiting: deque[Trial], pool: Pool[str]) -> None:
        n_passed = 0
        """Trials in a row that are not for us now."""
        while waiting or self._running:
            while waiting and pool.has_room and n_passed < len(waiting):
                if self._stops():
                    break
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
                if not self.waits and all(self._is_for_others(trial) for trial in waiting):
                    return
                self.sleep(LOOK_SECONDS)
            n_passed = 0

    def _take(self, trial: Trial, pool: Pool[str]) -> bool:
        """Settle a trial, or have it run; False if it must wait, or someone else has it."""
        if self._not_before.get(trial.digest, 0.0) > self.clock():
            return False
        if self._is_taken(trial):
            return True
        if not (self.claims.holds(trial.digest) or self.claims.take(trial.digest)):
            return False
        if self._is_taken(trial):  # by who held the claim before us
            self.claims.give_back(trial.digest)
            return True
        self.job.folder.clear_left_over(trial.digest)
        if self.claims.n_deaths(trial.digest) >= MOST_DEATHS:
            return not self._failed(trial, _OF_DEATHS, "", 0.0)
        self.tell(Event("started", trial.digest, trial.values))
        self._running[trial.digest] = trial, self.clock()
        pool.submit(trial.digest, trial)
        return True

    def _is_taken(self, trial: Trial) -> bool:
        is_settled = self.job.is_settled(trial)
        if is_settled:
            self.tell(Event("taken", trial.digest, trial.values))
        return is_settled

    def _ended(self, digest: str, answer: Any) -> list[Trial]:
        """Keep what came of a trial; the trial, if it must be run again."""
        trial, start = self._running.pop(digest)
        seconds = self.clock() - start
        if isinstance(answer, LostError):
            self.claims.count_death(digest)
            return [trial]
        if isinstance(answer, Exception):  # of the machinery: a record that no pipe carries
            answer = _Failed(f"{type(answer).__name__}: {first_line(answer)}", "")
        if isinstance(answer, _Failed):
            return self._failed(trial, answer.error, answer.traceback, seconds)
        kept = self.claims.holds(digest) and self.job.folder.finish(trial, answer, seconds)
        self.n_done += kept
        self.claims.give_back(digest)
        self.tell(Event("done" if kept else "taken", digest, trial.values, seconds, result=answer))
        return []

    def _failed(self, trial: Trial, error: str, told: str, seconds: float) -> list[Trial]:
        """Keep a failure; the trial, if there is another attempt."""
        n = self.job.folder.fail(trial, error, told)
        self.claims.give_back(trial.digest)
        final = n > self.job.retries
        self.n_failed += final
        self._not_before[trial.digest] = self.clock() + BACK_OFF_SECONDS * 2.0 ** (n - 1)
        self.tell(Event("failed" if final else "retried", trial.digest, trial.values, seconds, error))
        return [] if final else [trial]

    def _is_for_others(self, trial: Trial) -> bool:
        rests = self._not_before.get(trial.digest, 0.0) > self.clock()
        return not rests and self.claims.has_beaten(trial.digest)

    def _stops(self) -> bool:
        stop_after = self.job.stop_after
        return (stop_after is not None and self.n_failed >= stop_after) or self.stopping()


@dataclass(frozen=True)
class _Failed:
    """The answer of a trial that raised."""

    error: str
    traceback: str


def _begin(begin: Callable[[], RunTrial], number: int) -> Callable[[Trial], Any]:
    return partial(_attempt, begin())


def _begin_with(begin: Begin, threads: int | None, gpus: Sequence[str], number: int) -> Any:
    """In a process of its own: first limit what it takes of the machine."""
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
    return begin(number)


def _attempt(run: RunTrial, trial: Trial) -> Mapping[str, Any] | _Failed:
    """A trial may raise whatever its libraries do, also what no pipe carries; it must not stop the others."""
    try:
        return run(trial)
    except Exception as error:
        said = first_line(error)
        words = said if isinstance(error, PruneHeadsError) else f"{type(error).__name__}: {said}"
        return _Failed(words, "".join(traceback.format_exception(error)))
