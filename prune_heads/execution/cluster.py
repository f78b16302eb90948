"""Workers on a cluster, by Ray (the optional extra `ray`): it places them, gives them GPUs and replaces lost ones.

The folder of the sweep must be on a file system that all nodes share.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prune_heads.errors import RunError, first_line
from prune_heads.execution.claims import Claims
from prune_heads.execution.connection import connected
from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.spec import Trial
from prune_heads.execution.worker import (
    LOOK_SECONDS,
    MOST_DEATHS,
    Event,
    Outcome,
    Policy,
    RunTrial,
    Worker,
    fail_for_deaths,
)

_WAIT_SECONDS = 0.2
_REST_SECONDS = 1.0


@dataclass(frozen=True)
class Cluster:
    """Runs trials in actors, one trial at a time in each."""

    address: str | None = None
    """Of a cluster, `auto` or `ray://...`; None: one of this machine's own, for as long as it takes."""
    jobs: int | None = None
    """Actors; None: as many as the cluster has room for."""
    cpus: float = 1.0
    """Cores of an actor."""
    gpus: float = 0.0

    def run(
        self,
        folder: SweepFolder,
        trials: Sequence[Trial],
        begin: Callable[[], RunTrial],
        policy: Policy,
        tell: Callable[[Event], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Work through the trials; arguments and errors as `Local.run`.

        Raises:
            RunError: Also if Ray is not installed, or there is no such cluster.
        """
        with connected(self.address) as ray:
            _Driver(ray, self, folder, begin, policy, tell).work(trials, stopping)


class _Driver:
    """Hands trials to actors and hears of them."""

    def __init__(
        self,
        ray: Any,
        place: Cluster,
        folder: SweepFolder,
        begin: Callable[[], RunTrial],
        policy: Policy,
        tell: Callable[[Event], None],
    ) -> None:
        self.ray, self.folder, self.policy, self.tell = ray, folder, policy, tell
        actor = ray.remote(_Actor).options(
            num_cpus=place.cpus, num_gpus=place.gpus, max_restarts=-1, max_task_retries=0
        )
        n = place.jobs or max(1, self._room(place))
        self.idle: deque[Any] = deque(
            actor.remote(folder, begin, policy, max(1, int(place.cpus))) for _ in range(n)
        )
        self.resting: list[tuple[float, Any]] = []
        """Actors that were lost, until they are tried again."""
        self.claims = Claims(folder.root / "claims")
        self.deaths: Counter[str] = Counter()
        self.n_failed = 0

    def work(self, trials: Sequence[Trial], stopping: Callable[[], bool]) -> None:
        waiting = deque(self.policy.unsettled(self.folder, trials))
        later: list[tuple[float, Trial]] = []
        running: dict[Any, tuple[Any, Trial]] = {}
        while waiting or later or running:
            if stopping() or self.policy.is_enough(self.n_failed):
                waiting.clear()
                later.clear()
            now = time.monotonic()
            waiting.extend(trial for when, trial in later if when <= now)
            later = [(when, trial) for when, trial in later if when > now]
            self._wake()
            while waiting and self.idle:
                actor, trial = self.idle.popleft(), waiting.popleft()
                running[actor.attempt.remote(trial)] = (actor, trial)
            ready, _ = self.ray.wait(list(running), timeout=_WAIT_SECONDS) if running else ([], [])
            for reference in ready:
                actor, trial = running.pop(reference)
                pause = self._hear(reference, trial, actor)
                if pause is not None:
                    later.append((time.monotonic() + pause, trial))
            if not running and (later or waiting):
                time.sleep(_WAIT_SECONDS)

    def _wake(self) -> None:
        """Actors that were lost may have been started again by now."""
        awake = [actor for when, actor in self.resting if when <= time.monotonic()]
        self.resting = [(when, actor) for when, actor in self.resting if when > time.monotonic()]
        self.idle.extend(awake)

    def _hear(self, reference: Any, trial: Trial, actor: Any) -> float | None:
        """Hand on what an actor tells; seconds until the trial is for someone again, None if it is settled."""
        try:
            outcome, events, pause = self.ray.get(reference)
        except self.ray.exceptions.RayActorError as error:
            # Its process or its node is gone. Ray starts it again, once there is room.
            self.resting.append((time.monotonic() + _REST_SECONDS, actor))
            return self._lost(trial, first_line(error))
        except self.ray.exceptions.RayTaskError as error:
            raise RunError(
                f"a worker must be able to keep what it finds; it says {first_line(error.cause)}"
            ) from error
        self.idle.append(actor)
        for event in events:
            self.n_failed += event.kind == "failed"
            self.tell(event)
        return None if outcome == "settled" else pause

    def _lost(self, trial: Trial, how: str) -> float | None:
        """A trial that was with an actor that is gone; no death of its own if that had not begun it."""
        self.deaths[trial.digest] += self.claims.is_claimed(trial.digest)
        if self.deaths[trial.digest] < MOST_DEATHS:
            return LOOK_SECONDS
        self.tell(fail_for_deaths(self.folder, trial, how, self.policy))
        self.n_failed += 1
        return None

    def _room(self, place: Cluster) -> int:
        there = self.ray.cluster_resources()
        wanted = {"CPU": place.cpus, "GPU": place.gpus}
        return min(int(there.get(name, 0) // amount) for name, amount in wanted.items() if amount)


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(
        self, folder: SweepFolder, begin: Callable[[], RunTrial], policy: Policy, threads: int
    ) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self.events: list[Event] = []
        self.claims = Claims(folder.root / "claims")
        self.worker = Worker(folder, self.claims, begin(), policy, self.events.append)

    def attempt(self, trial: Trial) -> tuple[Outcome, list[Event], float]:
        """What came of the trial, what is to be told, and how long to wait if it is not settled."""
        self.events.clear()
        with self.claims.beating():
            outcome = self.worker.attempt(trial)
        pause = self.worker.pause(trial) if outcome == "again" else LOOK_SECONDS
        return outcome, list(self.events), pause
