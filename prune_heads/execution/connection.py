"""The way to a Ray cluster (the optional extra `ray`)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prune_heads.errors import RunError, first_line


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; left as it was found.

    Args:
        address: Of a cluster, `auto` or `ray://...`; None: one of this machine's own, until the block ends.

    Raises:
        RunError: If it is not installed or not there.
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
