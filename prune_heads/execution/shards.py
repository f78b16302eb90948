"""Parts of one job, shared out among workers on a Ray cluster (the optional extra `ray`); it knows not what they are.

A worker loads once and then does one part after the other. What a worker was at when it or its node was lost is done
again by another one. Who has no room on the cluster yet keeps no part waiting.
"""

import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prune_heads.errors import PruneHeadsError, RunError, first_line
from prune_heads.execution.connection import connected

Part = TypeVar("Part")
Found = TypeVar("Found")

MOST_LOST = 3
"""Workers that may die of one part, or each before it has loaded."""
_WAIT_SECONDS = 1.0
_DIGITS = 10_000
"""Ray counts shares of a core or a GPU in ten-thousandths."""


@dataclass(frozen=True)
class Shards:
    """So many workers on a cluster."""

    n: int
    address: str | None = None
    """Of the cluster, `auto` or `ray://...`; None: one of this machine's own, for as long as it takes."""

    def run(
        self,
        begin: Callable[[int], Callable[[Part], Found]],
        parts: Sequence[Part],
        tell: Callable[[Part, Found], None] = lambda part, found: None,
        *,
        gpus: bool = False,
    ) -> list[Found]:
        """Do all parts; what was found of each, in their order.

        Args:
            begin: Called once in each worker with the number of its threads, for what does a part. It, the parts and
                what is found travel as pickles.
            parts: Best those that take longest first.
            tell: Called here, of each part that is done.
            gpus: Whether the workers share the GPUs of the cluster, where it has some.

        Raises:
            RunError: If Ray is not installed, there is no such cluster, or workers die again and again.
            PruneHeadsError: What a worker raises; of several parts that fail, the first one's.
        """
        if not parts:
            return []
        with connected(self.address) as ray:
            return _Driver(ray, self.n, begin, parts, tell, gpus).work()


class _Driver(Generic[Part, Found]):
    """Hands parts to actors and hears of them."""

    def __init__(
        self,
        ray: Any,
        n: int,
        begin: Callable[[int], Callable[[Part], Found]],
        parts: Sequence[Part],
        tell: Callable[[Part, Found], None],
        gpus: bool,
    ) -> None:
        self.ray, self.parts, self.tell = ray, parts, tell
        self.n = min(n, len(parts))
        self.begin = ray.put(pickle.dumps(begin))  # once, however many load it
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        shares = shares_of(nodes, self.n, gpus=gpus)
        self.threads = max(1, int(shares["CPU"]))
        if "OMP_NUM_THREADS" in os.environ:  # the user has said how many
            self.threads = min(self.threads, int(os.environ["OMP_NUM_THREADS"]))
        self.remote = ray.remote(_Actor).options(
            num_cpus=shares["CPU"], num_gpus=shares["GPU"], max_restarts=0
        )
        self.waiting = deque(range(len(parts)))
        self.found: dict[int, Found] = {}
        self.failed: dict[int, PruneHeadsError] = {}
        self.actors: list[Any] = []
        self.idle: list[Any] = []
        self.running: dict[Any, tuple[Any, int | None]] = {}
        """What is awaited -> who does it, and which part; None while it loads."""
        self.lost: Counter[int | None] = Counter()

    def work(self) -> list[Found]:
        try:
            while self._is_left():
                self._hand_out()
                ready, _ = self.ray.wait(list(self.running), timeout=_WAIT_SECONDS)
                for reference in ready:
                    self._hear(reference)
        finally:
            for actor in self.actors:
                self.ray.kill(actor)
        if self.failed:
            raise self.failed[min(self.failed)]
        return [self.found[i] for i in range(len(self.parts))]

    def _is_left(self) -> bool:
        """After a failure only the parts before it matter: one process would have met theirs first."""
        return any(i not in self.found for i in range(min(self.failed, default=len(self.parts))))

    def _hand_out(self) -> None:
        first_failed = min(self.failed, default=len(self.parts))
        while self.waiting and self.waiting[0] >= first_failed:
            self.waiting.popleft()
        while self.waiting and self.idle:
            actor, i = self.idle.pop(), self.waiting.popleft()
            self.running[actor.do.remote(pickle.dumps(self.parts[i]))] = (actor, i)
        while self.waiting and len(self.actors) < self.n:
            actor = self.remote.remote(self.threads)
            self.actors.append(actor)
            self.running[actor.load.remote(self.begin)] = (actor, None)

    def _hear(self, reference: Any) -> None:
        actor, i = self.running.pop(reference)
        try:
            answer = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, PruneHeadsError):
                raise
            if i is None:
                raise error.cause from error
            self.failed[i] = error.cause
            self.idle.append(actor)
            return
        except self.ray.exceptions.RayError as error:  # its process, its node or what it found is gone
            self._lose(actor, i, first_line(error))
            return
        self.idle.append(actor)
        if i is None:
            del self.lost[None]
        else:
            self.found[i] = pickle.loads(answer)
            self.tell(self.parts[i], self.found[i])

    def _lose(self, actor: Any, i: int | None, how: str) -> None:
        """Another worker takes its place."""
        self.ray.kill(actor)
        self.actors.remove(actor)
        self.lost[i] += 1
        if i is None and self.lost[i] >= MOST_LOST * self.n:
            raise RunError(
                f"the workers of the cluster must start; {self.lost[i]} have died as they loaded, the last one of: "
                f"{how}. Every node needs prune-heads, and memory for the model"
            )
        if i is not None and self.lost[i] >= MOST_LOST:
            raise RunError(
                f"a part of the work must not end its worker; part {i + 1} of {len(self.parts)} has ended "
                f"{MOST_LOST}, the last one by: {how}. If memory was short, take fewer --shards or a lower --batch-size"
            )
        if i is not None:
            self.waiting.appendleft(i)


class _Actor:
    """A worker in a process of Ray's; it takes and gives bytes, which stay whole when the cluster is left."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def load(self, begin: bytes) -> None:
        """Get ready for parts."""
        self.work: Callable[[Any], Any] = pickle.loads(begin)(self.threads)

    def do(self, part: bytes) -> bytes:
        """What is found of a part."""
        return pickle.dumps(self.work(pickle.loads(part)))


def shares_of(nodes: Sequence[Mapping[str, float]], n: int, *, gpus: bool) -> dict[str, float]:
    """Cores and GPUs of each of `n` workers: as many as let all of them run at once.

    Args:
        nodes: What Ray says that each has (`CPU`, `GPU`).
        n: At least 1.
        gpus: Whether GPUs are wanted. A worker computes on one at most.
    """
    with_gpus = [node for node in nodes if gpus and node.get("GPU", 0) >= 1]
    there = with_gpus or nodes
    return {
        "CPU": _share([node.get("CPU", 0) for node in there], n),
        "GPU": min(1.0, _share([node["GPU"] for node in with_gpus], n)) if with_gpus else 0.0,
    }


def _share(rooms: Sequence[float], n: int) -> float:
    """The most of which each of `n` can have as much: a whole number, or one that goes into 1 (rounded down)."""
    whole_rooms = [int(room) for room in rooms if room >= 1]
    if not whole_rooms:
        return 1.0  # of a cluster that has nothing yet, but may grow
    for amount in range(max(whole_rooms), 0, -1):
        if sum(room // amount for room in whole_rooms) >= n:
            return float(amount)
    return _DIGITS // -(-n // sum(whole_rooms)) / _DIGITS
