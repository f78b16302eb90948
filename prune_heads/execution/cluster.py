"""Workers that are actors on a Ray cluster (the optional extra `ray`), for trials or for the parts of one job."""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from prune_heads.errors import RunError, first_line
from prune_heads.execution.pool import MOST_DEATHS, Begin, LostError, Pool, do_all, outcome

_DIGITS = 10_000  # Ray counts shares of a core or a GPU in ten-thousandths
_DIED = (
    f"a part of the work must not end its worker; part {{unit}} has ended {MOST_DEATHS}, the last one by: {{how}}. "
    "If memory was short, take fewer --shards or a lower --batch-size"
)


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster by its address, `auto` or `ray://...`; left as it was found.

    None is a new cluster on this machine, until the block ends. A `RunError` if Ray is not installed, or there is no
    such cluster.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise RunError("--executor ray needs Ray: pip install 'prune-heads[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        local: dict[str, Any] = {"include_dashboard": False} if address is None else {}
        try:
            # Without an address Ray would join whatever cluster someone else runs on this machine.
            ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            must = f"--address must be that of a running Ray cluster; got {address}: {first_line(error)}"
            raise RunError(f"{must}. Where the cluster asks for Ray's token, set RAY_AUTH_MODE=token") from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


class Actors(Pool):
    """See `Pool`. A worker that finds no room on the cluster yet keeps no unit waiting."""

    def __init__(self, ray: Any, begin: Begin, n: int, *, cpus: float, gpus: float) -> None:
        super().__init__(begin, n)
        self.ray = ray
        self.stored = ray.put(pickle.dumps(begin))  # once, however many load it
        self.remote = ray.remote(_Remote).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0)

    def start(self, number: int) -> "_Actor":
        """Start an actor."""
        return _Actor(self, number)

    def heard(self, seconds: float) -> list["_Actor"]:
        """See `Pool`."""
        awaited = {link.awaited: link for link in self.doing if link.awaited is not None}
        ready = self.ray.wait(list(awaited), timeout=seconds)[0] if awaited else ()
        return [awaited[reference] for reference in ready]


class _Actor:
    """Units and answers travel as bytes, which stay whole when the cluster is left."""

    def __init__(self, pool: Actors, number: int) -> None:
        self.number, self.ray, self.actor = number, pool.ray, pool.remote.remote()
        self.awaited: Any = self.actor.load.remote(pool.stored, number)

    def send(self, unit: Any) -> None:
        self.awaited = self.actor.do.remote(pickle.dumps(unit))

    def receive(self) -> Any:
        reference, self.awaited = self.awaited, None
        try:
            return pickle.loads(self.ray.get(reference))
        except self.ray.exceptions.RayError as error:  # its process, its node or its answer is gone
            return LostError(first_line(error))

    def kill(self) -> None:
        self.ray.kill(self.actor)


class _Remote:
    """A worker in a process of Ray's."""

    def load(self, begin: bytes, number: int) -> bytes:
        self.work = outcome(pickle.loads(begin), number)
        return pickle.dumps(self.work if isinstance(self.work, Exception) else None)

    def do(self, unit: bytes) -> bytes:
        return pickle.dumps(outcome(self.work, pickle.loads(unit)))


@dataclass(frozen=True)
class Shards:
    """So many workers on a cluster, which share the parts of one job."""

    ray: Any  # see `connected`
    n: int

    def run(
        self,
        begin: Callable[[int, int], Callable[[Any], Any]],
        parts: Sequence[Any],
        tell: Callable[[Any, Any], None] = lambda part, found: None,
        *,
        gpus: bool = False,
    ) -> list[Any]:
        """Do all parts; what was found of each, in their order.

        Args:
            begin: Called once in each worker with the number of its threads and its own, for what does a part. It, the
                parts and what is found travel as pickles.
            parts: At least one.
            tell: As of `do_all`, whose errors these are, too.
            gpus: Whether the workers share the GPUs of the cluster, where it has some.
        """
        n = min(self.n, len(parts))
        cpus, share = shares_of([node["Resources"] for node in self.ray.nodes() if node["Alive"]], n, gpus=gpus)
        threads = max(1, int(cpus))
        threads = min(threads, int(os.environ.get("OMP_NUM_THREADS", threads)))  # the user may have said how many
        with Actors(self.ray, partial(begin, threads), n, cpus=cpus, gpus=share) as pool:
            return do_all(pool, parts, _DIED, tell)


def shares_of(nodes: Sequence[Mapping[str, float]], n: int, *, gpus: bool) -> tuple[float, float]:
    """Cores and GPUs of each of `n` workers: as many as let all of them run at once.

    `nodes` is what Ray says that each has (`CPU`, `GPU`). `gpus` wants GPUs; a worker computes on one at most.
    """
    with_gpus = [node for node in nodes if gpus and node.get("GPU", 0) >= 1]
    cpus = _share([node.get("CPU", 0) for node in with_gpus or nodes], n)
    return cpus, min(1.0, _share([node["GPU"] for node in with_gpus], n)) if with_gpus else 0.0


def _share(rooms: Sequence[float], n: int) -> float:
    """The most of which each of `n` can have as much: a whole number, or one that goes into 1 (rounded down)."""
    whole = [int(room) for room in rooms if room >= 1] or [n]  # a cluster that has nothing yet may grow
    for amount in range(max(whole), 0, -1):
        if sum(room // amount for room in whole) >= n:
            return float(amount)
    return _DIGITS // -(-n // sum(whole)) / _DIGITS
