"""Where the work of a command is done, and where its run is kept."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from prune_heads.options.choices import Executor
from prune_heads.options.fields import Group, Say, option

_CLUSTER = "Cluster"
_OVERWRITE = Say("Replace a different run that the output folder holds.", "nothing")


@dataclass(frozen=True)
class Cluster(Group):
    """This process, or the workers of a cluster; the result is the same."""

    executor: Executor = option(
        "Compute in this process, or on a Ray cluster (needs the extra 'ray').", "nothing", _CLUSTER, default="local"
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


@dataclass(frozen=True)
class Folder(Group):
    """The folder of a run; None for no folder."""

    output: Path | None = option("Folder for the record, the tables and the figures.", "nothing", short="-o")
    overwrite: bool = option(_OVERWRITE, default=False)


@dataclass(frozen=True)
class RunFolder(Folder):
    """The folder of a run that may keep its model."""

    save_checkpoint: bool = option(
        "Keep the pruned model in the output folder, as 'checkpoint'.", "nothing", default=False
    )


@dataclass(frozen=True)
class NewFolder(Group):
    """A folder that must be named."""

    output: Path = option("Folder for the checkpoint and its record.", "nothing", short="-o", default=MISSING)
    overwrite: bool = option(_OVERWRITE, default=False)


@dataclass(frozen=True)
class TrainingFolder(Folder):
    """A folder in which a killed training goes on."""

    output: Path | None = option(
        "Folder for the checkpoint and its record; a killed run continues there.", "nothing", short="-o"
    )
