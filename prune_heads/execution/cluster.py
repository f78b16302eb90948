"""Workers that are actors on a Ray cluster (the optional extra `ray`)."""

import logging
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prune_heads.errors import RunError, first_line
from prune_heads.execution.pool import Begin, LostError


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; left as it was found.

    Args:
        address: Of a cluster, `auto` or `ray://...`; None: a new one on this machine, until the block ends.

    Raises:
        RunError: If Ray is not installed, or there is no such cluster.
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
            raise RunError(
                f"--address must be that of a running Ray cluster; got {address}: {first_line(error)}. "
                "Where the cluster asks for Ray's token, set RAY_AUTH_MODE=token"
            ) from error
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


class Actors:
    """See `Crew`. A worker that finds no room on the cluster yet keeps no unit waiting."""

    def __init__(self, ray: Any, begin: Begin, *, cpus: float, gpus: float) -> None:
        """Each actor takes so many cores and GPUs."""
        self.ray = ray
        self.begin = ray.put(pickle.dumps(begin))  # once, however many load it
        self.remote = ray.remote(_Actor).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0)

    def start(self, number: int) -> "_Link":
        """Start an actor."""
        return _Link(self, number)

    def wait(self, links: Sequence["_Link"], seconds: float) -> list["_Link"]:
        """See `Crew`."""
        awaited = {link.awaited: link for link in links if link.awaited is not None}
        if not awaited:
            return []
        ready, _ = self.ray.wait(list(awaited), timeout=seconds)
        return [awaited[reference] for reference in ready]


class _Link:
    """See `Link`. Units and answers travel as bytes, which stay whole when the cluster is left."""

    def __init__(self, crew: Actors, number: int) -> None:
        self.ray = crew.ray
        self.actor = crew.remote.remote()
        self.awaited: Any = self.actor.load.remote(crew.begin, number)

    def send(self, unit: Any) -> None:
        self.awaited = self.actor.do.remote(pickle.dumps(unit))

    def receive(self) -> Any:
        reference, self.awaited = self.awaited, None
        try:
            return pickle.loads(self.ray.get(reference))
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self.ray.exceptions.RayError as error:  # its process, its node or its answer is gone
            raise LostError(first_line(error)) from error

    def kill(self) -> None:
        self.ray.kill(self.actor)


class _Actor:
    """A worker in a process of Ray's."""

    def load(self, begin: bytes, number: int) -> bytes:
        self.work = pickle.loads(begin)(number)
        return pickle.dumps(None)

    def do(self, unit: bytes) -> bytes:
        return pickle.dumps(self.work(pickle.loads(unit)))
