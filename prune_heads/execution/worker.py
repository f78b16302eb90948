"""One worker: claim a trial, run it, keep its record, take the next. Any number may work on one folder.

What is done is never run again, since a record is looked for before and after the claim. Whoever finds only trials of
others left waits for them, so that a worker that dies is replaced.
"""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from prune_heads.errors import PruneHeadsError, first_line
from prune_heads.execution.claims import Claims
from prune_heads.execution.job import Event, Job, RunTrial, Stopping, Tell
from prune_heads.execution.spec import Trial

Outcome = Literal["settled", "busy", "again"]

LOOK_SECONDS = 0.5
"""Between two looks at what others are working on."""
BACK_OFF_SECONDS = 1.0
"""Before the first new attempt of a trial that failed; doubled for each one after it."""

MOST_DEATHS = 3
"""Workers that may die of one trial before it counts as failed: one that needs too much memory must not take all."""
_OF_DEATHS = f"{MOST_DEATHS} workers have died of it (exit code -9 is a kill, often for memory)"


@dataclass
class Worker:
    """Works through the trials of a job until none is left."""

    job: Job
    tell: Tell = lambda event: None
    stopping: Stopping = lambda: False
    """Asked before a trial is begun."""
    waits: bool = True
    """For the trials of living others, to take over if they die."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    witness: int | None = None
    """See `Claims`."""
    n_failed: int = 0
    claims: Claims = field(init=False)
    run: RunTrial = field(init=False)

    def __post_init__(self) -> None:
        self.claims = self.job.folder.claims()
        self.claims.witness = self.witness
        self.run = self.job.begin()

    def work(self) -> None:
        """Run what is neither done nor failed. Returns when all are, or when it is told to stop.

        A worker that does not wait also returns when others have all that is left and were seen alive.

        Raises:
            RunError: If what has been found cannot be kept (a full disk): no trial is to blame, and none goes on.
        """
        with self.claims.beating():
            self._work({trial.digest: trial for trial in self.job.unsettled()})

    def _work(self, waiting: dict[str, Trial]) -> None:
        not_before: dict[str, float] = {}
        while waiting:
            progressed, is_for_others = False, True
            for trial in list(waiting.values()):
                if self._stops():
                    return
                if not_before.get(trial.digest, 0.0) > self.clock():
                    is_for_others = False
                    continue
                outcome = self.attempt(trial)
                is_for_others &= outcome == "busy" and self.claims.has_beaten(trial.digest)
                if outcome == "again":
                    not_before[trial.digest] = self.clock() + self.pause(trial)
                elif outcome == "settled":
                    del waiting[trial.digest]
                progressed |= outcome != "busy"
            if is_for_others and not self.waits:
                return
            if waiting and not progressed:
                self.sleep(LOOK_SECONDS)

    def pause(self, trial: Trial) -> float:
        """Seconds before the next attempt of a trial that has failed."""
        return BACK_OFF_SECONDS * 2.0 ** (self.job.folder.n_failures(trial.digest) - 1)

    def attempt(self, trial: Trial) -> Outcome:
        """Run a trial if it is neither settled nor someone else's.

        Returns:
            `settled` if it is done or has failed for good; `busy` if someone else has it; `again` if it has failed and
            there is another attempt.

        Raises:
            RunError: If what has been found cannot be kept.
        """
        if self.job.is_settled(trial):
            self.tell(Event("taken", trial.digest, trial.values))
            return "settled"
        if not self.claims.take(trial.digest):
            return "busy"
        try:
            if self.job.is_settled(trial):  # by who held the claim before us
                self.tell(Event("taken", trial.digest, trial.values))
                return "settled"
            self.job.folder.clear_left_over(trial.digest)
            if self.claims.n_deaths(trial.digest) >= MOST_DEATHS:
                return self._failed(trial, _OF_DEATHS, "", 0.0)
            return self._run(trial)
        finally:
            self.claims.give_back(trial.digest)

    def _run(self, trial: Trial) -> Literal["settled", "again"]:
        start = self.clock()
        self.tell(Event("started", trial.digest, trial.values))
        try:
            record = self.run(trial)
        except Exception as error:  # a trial may raise whatever its libraries do; it must not stop the others
            is_ours = isinstance(error, PruneHeadsError)
            words = first_line(error) if is_ours else f"{type(error).__name__}: {first_line(error)}"
            told = "".join(traceback.format_exception(error))
            return self._failed(trial, words, told, self.clock() - start)
        kept = self.claims.holds(trial.digest) and self.job.folder.finish(trial, record, self.clock() - start)
        kind: Literal["done", "taken"] = "done" if kept else "taken"
        self.tell(Event(kind, trial.digest, trial.values, self.clock() - start, result=record))
        return "settled"

    def _failed(self, trial: Trial, words: str, told: str, seconds: float) -> Literal["settled", "again"]:
        n = self.job.folder.fail(trial, words, told)
        final = n > self.job.policy.retries
        self.n_failed += final
        self.tell(Event("failed" if final else "retried", trial.digest, trial.values, seconds, words))
        return "settled" if final else "again"

    def _stops(self) -> bool:
        return self.job.policy.is_enough(self.n_failed) or self.stopping()
