"""Parts of one job, shared out among workers on a Ray cluster (the optional extra `ray`)."""

import heapq
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from prune_heads.errors import PruneHeadsError, RunError
from prune_heads.execution.cluster import Actors, connected
from prune_heads.execution.pool import MOST_DEATHS, LostError, Pool

Part = TypeVar("Part")
Found = TypeVar("Found")

_WAIT_SECONDS = 1.0
_DIGITS = 10_000
"""Ray counts shares of a core or a GPU in ten-thousandths."""


@dataclass(frozen=True)
class Shards:
    """So many workers on a cluster."""

    n: int
    address: str | None = None
    """See `connected`."""

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
            n = min(self.n, len(parts))
            shares = shares_of([node["Resources"] for node in ray.nodes() if node["Alive"]], n, gpus=gpus)
            threads = max(1, int(shares["CPU"]))
            if "OMP_NUM_THREADS" in os.environ:  # the user has said how many
                threads = min(threads, int(os.environ["OMP_NUM_THREADS"]))
            crew = Actors(ray, partial(_begin, begin, threads), cpus=shares["CPU"], gpus=shares["GPU"])
            with Pool[int](crew, n) as pool:
                return _shared_out(pool, parts, tell)


def _begin(begin: Callable[[int], Any], threads: int, number: int) -> Any:
    return begin(threads)


def _shared_out(pool: Pool[int], parts: Sequence[Part], tell: Callable[[Part, Found], None]) -> list[Found]:
    waiting = list(range(len(parts)))  # a heap: a part whose worker died is the next one again
    found: dict[int, Found] = {}
    deaths: Counter[int] = Counter()
    failed, error = len(parts), None
    # After a failure only the parts before it matter: one process would have met theirs first.
    while any(i not in found for i in range(failed)):
        while waiting and waiting[0] < failed and pool.has_room:
            i = heapq.heappop(waiting)
            pool.submit(i, parts[i])
        for i, answer in pool.wait(_WAIT_SECONDS):
            if isinstance(answer, LostError):
                deaths[i] += 1
                if deaths[i] >= MOST_DEATHS:
                    raise RunError(
                        f"a part of the work must not end its worker; part {i + 1} of {len(parts)} has ended "
                        f"{MOST_DEATHS}, the last one by: {answer}. If memory was short, take fewer --shards or a "
                        "lower --batch-size"
                    ) from answer
                heapq.heappush(waiting, i)
            elif isinstance(answer, PruneHeadsError):
                failed, error = min((failed, error), (i, answer), key=lambda pair: pair[0])
            elif isinstance(answer, Exception):
                raise answer
            else:
                found[i] = answer
                tell(parts[i], answer)
    if error is not None:
        raise error
    return [found[i] for i in range(len(parts))]


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
