"""Where a run is kept."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from prune_heads.options.fields import Group, Say, option

_OVERWRITE = Say("Replace a different run that the output folder holds.", "nothing")


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
        "Folder for the checkpoint and its record; a killed run goes on.", "nothing", short="-o"
    )
