"""Where a run is kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from prune_heads.options.fields import Group, Say

_OVERWRITE = Say("Replace a different run that the output folder holds.", "nothing")


@dataclass(frozen=True)
class Folder(Group):
    """The folder of a run; None for no folder."""

    output: Annotated[
        Path | None, Say("Folder for the record, the tables and the figures.", "nothing", short="-o")
    ] = None
    overwrite: Annotated[bool, _OVERWRITE] = False


@dataclass(frozen=True)
class RunFolder(Folder):
    """The folder of a run that may keep its model."""

    save_checkpoint: Annotated[
        bool, Say("Keep the pruned model in the output folder, as 'checkpoint'.", "nothing")
    ] = False


@dataclass(frozen=True)
class NewFolder(Group):
    """A folder that must be named."""

    output: Annotated[Path, Say("Folder for the checkpoint and its record.", "nothing", short="-o")]
    overwrite: Annotated[bool, _OVERWRITE] = False


@dataclass(frozen=True)
class TrainingFolder(Folder):
    """A folder in which a killed training goes on."""

    output: Annotated[
        Path | None,
        Say("Folder for the checkpoint and its record; a killed run goes on.", "nothing", short="-o"),
    ] = None
