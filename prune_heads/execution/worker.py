"""One worker: claim a trial, run it, keep its record, take the next. Any number may work on one folder.

What is done is never run again, since a record is looked for before and after the claim. Whoever finds only trials of
others left waits for them, so that a worker that dies is replaced.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from prune_heads.errors import PruneHeadsError, first_line
from prune_heads.execution.claims import Claims
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import Trial, Values

Outcome = Literal["settled", "busy", "again"]
RunTrial = Callable[[Trial], Mapping[str, Any]]
"""Trial -> record. Raises whatever goes wrong."""

LOOK_SECONDS = 0.5
"""Between two looks at what others are working on."""
BACK_OFF_SECONDS = 1.0
"""Before the first new attempt of a trial that failed; doubled for each one after it."""


MOST_DEATHS = 3
"""Workers that may die of one trial before it counts as failed: one that needs too much memory must not take all."""


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


@dataclass(frozen=True)
class Policy:
    """What is done about failures."""

    retries: int = 0
    """Further attempts of a trial that fails."""
    stop_after: int | None = None
    """Failures (for good, of this worker) after which no trial is begun; None: go on."""

    def is_enough(self, n_failed: int) -> bool:
        """Whether so many failures stop the sweep."""
        return self.stop_after is not None and n_failed >= self.stop_after

    def unsettled(self, folder: SweepFolder, trials: Sequence[Trial]) -> list[Trial]:
        """The trials that are neither done nor failed for good; by listing folders, not by asking for each."""
        lost = (name for name in folder.failed() if folder.n_failures(name) > self.retries)
        settled = {*folder.done(), *lost}
        return [trial for trial in trials if trial.digest not in settled]


@dataclass
class Worker:
    """Works through the trials of a folder until none is left."""

    folder: SweepFolder
    claims: Claims
    run: RunTrial
    policy: Policy = field(default_factory=Policy)
    tell: Callable[[Event], None] = lambda event: None
    stopping: Callable[[], bool] = lambda: False
    """Asked before a trial is begun."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    n_failed: int = 0

    def work(self, trials: Sequence[Trial]) -> None:
        """Run what is neither done nor failed. Returns when all are, or when it is told to stop.

        Raises:
            RunError: If what has been found cannot be kept (a full disk): no trial is to blame, and none goes on.
        """
        waiting = {trial.digest: trial for trial in self.policy.unsettled(self.folder, trials)}
        not_before: dict[str, float] = {}
        while waiting:
            progressed = False
            for trial in list(waiting.values()):
                if self._stops():
                    return
                if not_before.get(trial.digest, 0.0) > self.clock():
                    continue
                outcome = self.attempt(trial)
                if outcome == "again":
                    not_before[trial.digest] = self.clock() + self.pause(trial)
                elif outcome == "settled":
                    del waiting[trial.digest]
                progressed |= outcome != "busy"
            if waiting and not progressed:
                self.sleep(LOOK_SECONDS)

    def pause(self, trial: Trial) -> float:
        """Seconds before the next attempt of a trial that has failed."""
        return BACK_OFF_SECONDS * 2.0 ** (self.folder.n_failures(trial.digest) - 1)

    def attempt(self, trial: Trial) -> Outcome:
        """Run a trial if it is neither settled nor someone else's.

        Returns:
            `settled` if it is done or has failed for good; `busy` if someone else has it; `again` if it has failed and
            there is another attempt.

        Raises:
            RunError: If what has been found cannot be kept.
        """
        if self._is_settled(trial):
            self.tell(Event("taken", trial.digest, trial.values))
            return "settled"
        if not self.claims.take(trial.digest):
            return "busy"
        try:
            if self._is_settled(trial):  # by who held the claim before us
                self.tell(Event("taken", trial.digest, trial.values))
                return "settled"
            return self._run(trial)
        finally:
            self.claims.give_back(trial.digest)

    def _run(self, trial: Trial) -> Literal["settled", "again"]:
        start = self.clock()
        self.tell(Event("started", trial.digest, trial.values))
        try:
            record = self.run(trial)
        except Exception as error:  # a trial may raise whatever its libraries do; it must not stop the others
            return self._failed(trial, error, self.clock() - start)
        kept = self.claims.holds(trial.digest) and self.folder.finish(trial, record, self.clock() - start)
        kind: Literal["done", "taken"] = "done" if kept else "taken"
        self.tell(Event(kind, trial.digest, trial.values, self.clock() - start, result=record))
        return "settled"

    def _failed(self, trial: Trial, error: Exception, seconds: float) -> Literal["settled", "again"]:
        words = (
            first_line(error)
            if isinstance(error, PruneHeadsError)
            else f"{type(error).__name__}: {first_line(error)}"
        )
        n = self.folder.fail(trial, words, "".join(traceback.format_exception(error)))
        final = n > self.policy.retries
        self.n_failed += final
        self.tell(Event("failed" if final else "retried", trial.digest, trial.values, seconds, words))
        return "settled" if final else "again"

    def _is_settled(self, trial: Trial) -> bool:
        return self.folder.is_done(trial.digest) or self.folder.n_failures(trial.digest) > self.policy.retries

    def _stops(self) -> bool:
        return self.policy.is_enough(self.n_failed) or self.stopping()


def fail_for_deaths(folder: SweepFolder, trial: Trial, how: str, policy: Policy) -> Event:
    """Count a trial as failed of which workers have died; it has no traceback."""
    words = f"{MOST_DEATHS} workers have died of it ({how}; -9 is a kill, often for memory)"
    for _ in range(policy.retries + 1):
        folder.fail(trial, words, "")
    return Event("failed", trial.digest, trial.values, error=words)
