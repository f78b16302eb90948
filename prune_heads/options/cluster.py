"""Where the work of a command is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prune_heads.options.choices import Executor
from prune_heads.options.fields import Group, option

_CLUSTER = "Cluster"


@dataclass(frozen=True)
class Cluster(Group):
    """This process, or the workers of a cluster; the result is the same."""

    executor: Executor = option(
        "Compute in this process, or on a Ray cluster (needs the extra 'ray').",
        "nothing",
        _CLUSTER,
        default="local",
    )
    shards: int | None = option("Number of Ray workers that share the work.", "nothing", _CLUSTER, low=1)
    address: str | None = option(
        "Address of the Ray cluster: auto or ray://... (default: a new local one)", "nothing", _CLUSTER
    )

    @classmethod
    def clash(cls, given: Mapping[str, Any]) -> str | None:
        """A cluster has workers, and this process none."""
        is_local = given.get("executor", "local") == "local"
        if is_local and given.keys() & {"shards", "address"}:
            return "--shards and --address belong to --executor ray"
        if not is_local and "shards" not in given:
            return "--executor ray needs --shards, the number of workers that share the work"
        return None
