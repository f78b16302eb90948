"""Workers on a cluster, by Ray (the optional extra `ray`): it places them, gives them GPUs and replaces lost ones.

The folder of the sweep must be on a file system that all nodes share.
"""

import os
import secrets
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from prune_heads.errors import RunError, first_line
from prune_heads.execution.connection import connected
from prune_heads.execution.job import Event, Job, Stopping, Tell
from prune_heads.execution.spec import Trial
from prune_heads.execution.worker import LOOK_SECONDS, Outcome, Worker

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

    def run(self, job: Job, tell: Tell, stopping: Stopping) -> None:
        """See `Executor`.

        Raises:
            RunError: Also if Ray is not installed, or there is no such cluster.
        """
        with connected(self.address) as ray:
            _Driver(ray, self, job, tell).work(stopping)


class _Driver:
    """Hands trials to actors and hears of them."""

    def __init__(self, ray: Any, place: Cluster, job: Job, tell: Tell) -> None:
        self.ray, self.job, self.tell = ray, job, tell
        actor = ray.remote(_Actor).options(
            num_cpus=place.cpus, num_gpus=place.gpus, max_restarts=-1, max_task_retries=0
        )
        n = place.jobs or max(1, self._room(place))
        own = replace(job, trials=())  # each is handed over when it is due
        self.tokens = {}
        self.idle: deque[Any] = deque()
        for _ in range(n):
            token = secrets.token_hex(8)
            self.idle.append(actor.remote(own, max(1, int(place.cpus)), token))
            self.tokens[self.idle[-1]] = token
        self.resting: list[tuple[float, Any]] = []
        """Actors that were lost, until they are tried again."""
        self.n_failed = 0

    def work(self, stopping: Stopping) -> None:
        waiting = deque(self.job.unsettled())
        later: list[tuple[float, Trial]] = []
        running: dict[Any, tuple[Any, Trial]] = {}
        while waiting or later or running:
            if stopping() or self.job.policy.is_enough(self.n_failed):
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
            if error.actor_init_failed:  # as it would every time
                said = str(error).strip().splitlines()[-1]  # below Ray's traceback
                raise RunError(f"workers must start; one says {said}") from error
            # Its process or its node is gone. Ray starts it again, once there is room.
            self.job.folder.claims().tell_of_death(token=self.tokens[actor])
            self.resting.append((time.monotonic() + _REST_SECONDS, actor))
            return LOOK_SECONDS
        except self.ray.exceptions.RayTaskError as error:
            raise RunError(
                f"a worker must be able to keep what it finds; it says {first_line(error.cause)}"
            ) from error
        self.idle.append(actor)
        for event in events:
            self.n_failed += event.kind == "failed"
            self.tell(event)
        return None if outcome == "settled" else pause

    def _room(self, place: Cluster) -> int:
        there = self.ray.cluster_resources()
        wanted = {"CPU": place.cpus, "GPU": place.gpus}
        return min(int(there.get(name, 0) // amount) for name, amount in wanted.items() if amount)


class _Actor:
    """A worker in a process of Ray's."""

    def __init__(self, job: Job, threads: int, token: str) -> None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self.events: list[Event] = []
        self.worker = Worker(job, self.events.append)
        self.worker.claims.owner = replace(self.worker.claims.owner, token=token)

    def attempt(self, trial: Trial) -> tuple[Outcome, list[Event], float]:
        """What came of the trial, what is to be told, and how long to wait if it is not settled."""
        self.events.clear()
        with self.worker.claims.beating():
            outcome = self.worker.attempt(trial)
        pause = self.worker.pause(trial) if outcome == "again" else LOOK_SECONDS
        return outcome, list(self.events), pause
