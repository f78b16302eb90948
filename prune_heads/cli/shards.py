"""The options of commands whose work can be split over a cluster."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from prune_heads.cli.names import ExecutorName

if TYPE_CHECKING:
    from prune_heads.execution.shards import Shards

_CLUSTER = "Cluster"


@dataclass(frozen=True)
class ShardOptions:
    """Where the work is done."""

    executor: Annotated[
        ExecutorName, Option(help="This process, or a Ray cluster (extra 'ray').", rich_help_panel=_CLUSTER)
    ] = ExecutorName.local
    shards: Annotated[
        int | None, Option(min=1, help="Ray workers that share the work.", rich_help_panel=_CLUSTER)
    ] = None
    address: Annotated[
        str | None,
        Option(
            help="Address of the Ray cluster: auto or ray://... (default: a new local one)",
            rich_help_panel=_CLUSTER,
        ),
    ] = None

    def resolve(self) -> "Shards | None":
        """As `Shards`; None for this process."""
        if self.executor is ExecutorName.local:
            if self.shards is not None or self.address is not None:
                raise BadParameter("--shards and --address belong to --executor ray.")
            return None
        if self.shards is None:
            raise BadParameter("--executor ray needs --shards, the number of workers that share the work.")
        from prune_heads.execution.shards import Shards

        return Shards(self.shards, self.address)
