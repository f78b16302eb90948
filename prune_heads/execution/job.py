"""What a sweep has to do, as one value, what is told of it, and who can do it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import Trial, Values

RunTrial = Callable[[Trial], Mapping[str, Any]]
"""Trial -> record. Raises whatever goes wrong."""

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
class Policy:
    """What is done about failures."""

    retries: int = 0
    """Further attempts of a trial that fails."""
    stop_after: int | None = None
    """Failures (for good, of this worker) after which no trial is begun; None: go on."""

    def is_enough(self, n_failed: int) -> bool:
        """Whether so many failures stop the sweep."""
        return self.stop_after is not None and n_failed >= self.stop_after


@dataclass(frozen=True)
class Job:
    """Trials, and how they are run; goes to other processes as it is."""

    folder: SweepFolder
    trials: Sequence[Trial]
    """All of the sweep; what is done is left out by who runs them."""
    begin: Callable[[], RunTrial]
    """Called once in each process, for what runs its trials; importable by name."""
    policy: Policy = Policy()

    def unsettled(self) -> list[Trial]:
        """The trials that are neither done nor failed for good; of those that are done the records are read."""
        done = set(self.folder.done())
        lost = {name for name in self.folder.failed() if self.folder.n_failures(name) > self.policy.retries}
        return [
            trial
            for trial in self.trials
            if trial.digest not in lost and not (trial.digest in done and self.folder.is_done(trial.digest))
        ]

    def is_settled(self, trial: Trial) -> bool:
        """Whether a trial is done or has failed for good."""
        return self.folder.is_done(trial.digest) or self.folder.n_failures(trial.digest) > self.policy.retries

    def turned(self, number: int) -> "Job":
        """The same trials from another place in the list on: workers of any numbers do not collide at one end."""
        start = int(number * _GOLDEN % 1 * len(self.trials))
        return replace(self, trials=[*self.trials[start:], *self.trials[:start]])


class Executor(Protocol):
    """Who runs the trials of a job."""

    def run(self, job: Job, tell: Tell, stopping: Stopping) -> None:
        """Work through the trials.

        Args:
            job: What there is to do.
            tell: Called here, for every event of every worker.
            stopping: Asked all the time; once true, running trials finish and no other begins.

        Raises:
            RunError: If records cannot be kept, or workers do not start.
        """
