"""Workers on this machine: one in this process, or several processes that each keep what they have loaded."""

import multiprocessing
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event as Flag

from prune_heads.errors import RunError
from prune_heads.execution.claims import Claims
from prune_heads.execution.job import Job, Stopping, Tell
from prune_heads.execution.parent import end_with_parent
from prune_heads.execution.witness import witness
from prune_heads.execution.worker import MOST_DEATHS, Worker

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Local:
    """Runs trials in `jobs` processes; of one job, in this one."""

    jobs: int = 1
    threads: int = 1
    """Threads of all jobs together, shared evenly, each at least one."""
    gpus: int = 0
    """How many there are: the jobs take them in turn."""

    waits: bool = True
    """For trials that living others have, to take over if they die."""

    def run(self, job: Job, tell: Tell, stopping: Stopping) -> None:
        """See `Executor`."""
        if self.jobs == 1:
            with witness(job.folder.claims()) as beside:
                Worker(job, tell, stopping, self.waits, witness=beside).work()
        elif left := job.unsettled():
            _Pool(self, replace(job, trials=left), tell).run(stopping)


@dataclass
class _Pool:
    """The processes of one run, seen from the one that started them."""

    place: Local
    job: Job
    tell: Tell
    workers: dict[int, SpawnProcess] = field(default_factory=dict)
    ears: dict[int, Connection] = field(default_factory=dict)
    """Worker -> where it is heard; a pipe of its own, so that what it said before it was killed has arrived."""
    has_told: set[int] = field(default_factory=set)
    stillborn: Counter[int] = field(default_factory=Counter)
    """Worker -> how many in a row have ended in its place before they told anything."""
    n_failed: int = 0

    def run(self, stopping: Stopping) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks, and no GPU
        self.stop: Flag = context.Event()
        self.context = context
        try:
            for number in range(self.place.jobs):
                self._start(number)
            while self.workers:
                self._listen()
                if stopping() or self.job.policy.is_enough(self.n_failed):
                    self.stop.set()
                self._bury()
        finally:
            for worker in self.workers.values():  # after an error or a second Ctrl-C
                worker.kill()
                worker.join()
                self.job.folder.claims().give_back_of(worker.pid)

    def _start(self, number: int) -> None:
        place = _Place(
            number,
            max(1, self.place.threads // self.place.jobs),
            number % self.place.gpus if self.place.gpus else None,
            self.place.waits,
        )
        self.ears[number], mouth = self.context.Pipe(duplex=False)
        self.workers[number] = self.context.Process(
            target=_work, args=(self.job, mouth, self.stop, place), name=f"worker-{number + 1}"
        )
        self.workers[number].start()
        mouth.close()  # of ours: the worker's end alone keeps it open

    def _listen(self) -> None:
        """Hand on what workers have told; waits a little where there is nothing."""
        numbers = {id(ear): number for number, ear in self.ears.items()}
        for ear in wait(list(self.ears.values()), _LOOK_SECONDS):
            self._hear(numbers[id(ear)])

    def _hear(self, number: int) -> bool:
        """One thing that a worker has told; False if it will tell nothing more."""
        try:
            event = self.ears[number].recv()
        except (EOFError, OSError):
            self.ears.pop(number).close()
            return False
        self.has_told.add(number)
        if isinstance(event, str):
            raise RunError(event)
        self.n_failed += event.kind == "failed"
        self.tell(event)
        return True

    def _bury(self) -> None:
        """Take leave of workers that have ended; who was killed is replaced, unless it dies so before it begins.

        Its claim says so to whoever takes over its trial.

        Raises:
            RunError: If no worker is left and none can be started.
        """
        for number, worker in list(self.workers.items()):
            if worker.is_alive():
                continue
            while number in self.ears and self._hear(number):
                pass
            worker.join()
            del self.workers[number]
            self.job.folder.claims().tell_of_death(worker.pid)
            if not worker.exitcode or self.stop.is_set():
                continue
            self.stillborn[number] = 0 if number in self.has_told else self.stillborn[number] + 1
            self.has_told.discard(number)
            if self.stillborn[number] < MOST_DEATHS:
                self._start(number)
            elif not self.workers and self.job.unsettled():
                raise RunError(
                    f"workers must start; {worker.name} ended with exit code {worker.exitcode} before it began a "
                    f"trial, {MOST_DEATHS} times in a row, see above"
                )


@dataclass(frozen=True)
class _Place:
    """What a worker has of the machine."""

    number: int
    threads: int
    gpu: int | None
    waits: bool


def _work(job: Job, mouth: Connection, stop: Flag, place: _Place) -> None:
    """The body of a worker process. It ends with who started it, whose claims are no one's then."""
    # The terminal sends Ctrl-C to all: the parent says what it means. A scheduler ends all: no trial is to blame.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.environ["OMP_NUM_THREADS"] = str(place.threads)
    if place.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(place.gpu)
    claims: list[Claims] = []

    def release() -> None:
        for each in claims:
            each.give_back_all()

    end_with_parent(release)
    try:
        worker = Worker(job.turned(place.number), mouth.send, stop.is_set, place.waits, witness=os.getppid())
        claims.append(worker.claims)
        worker.work()
    except BrokenPipeError:
        pass  # who started us was killed, and nobody listens
    except RunError as error:
        mouth.send(str(error))
