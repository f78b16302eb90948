"""What is done of a job that was killed: one array a step, so that the next process goes on where it ended."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.arrays import (
    SUFFIX,
    DamagedError,
    changing,
    discard,
    listed,
    read_array,
    size_of,
    write_array,
)
from prune_heads.canonical import canonical, digest
from prune_heads.errors import RunError
from prune_heads.files import read_json, write_bytes

_FOLDER = "journals"
_MANIFEST = "manifest.json"
_STEPS_A_FOLDER = 1000
_JOB = re.compile(r"[0-9a-f]{64}")
_STEP = re.compile(rf"\d+{re.escape(SUFFIX)}")
_OURS = re.compile(rf"({_STEP.pattern}|manifest\.json|\.({_STEP.pattern}|manifest\.json)\..*\.partial)")


@dataclass(frozen=True)
class Journal:
    """The steps of one job, by number. Several processes may work on the same job."""

    folder: Path
    job: Mapping[str, Any]
    """What the job is (JSON): model, data, masks, batches, everything that its arrays depend on."""

    @classmethod
    def open(cls, root: Path, job: Mapping[str, Any]) -> "Journal":
        """The journal of this job in the store at `root`, with what earlier processes left in it.

        Raises:
            StoreError: If it cannot be written.
        """
        journal = cls(root / _FOLDER / digest(job), job)
        journal._write_manifest()
        return journal

    def read(self, step: int) -> NDArray[np.float32] | None:
        """The array of a step (from 0); None if it is not there or damaged: it is then done again."""
        try:
            about, values = read_array(self._path(step))
        except (FileNotFoundError, DamagedError):
            return None
        return values if about == self._about(step) else None

    def write(self, step: int, values: NDArray[np.float32]) -> None:
        """Record the array of a step; the folder is made again if another process removed it.

        Raises:
            StoreError: If it cannot be written.
        """
        write_array(self._path(step), values, self._about(step))
        self._write_manifest()

    def close(self) -> None:
        """The job is done: remove what was recorded. Another process of the same job may do so at the same time."""
        _remove(self.folder)

    def _path(self, step: int) -> Path:
        return self.folder / str(step // _STEPS_A_FOLDER) / f"{step}{SUFFIX}"

    def _about(self, step: int) -> dict[str, Any]:
        return {"job": self.folder.name, "step": step}

    def _write_manifest(self) -> None:
        manifest = self.folder / _MANIFEST
        with changing(self.folder):
            if not manifest.exists():
                write_bytes(manifest, canonical({"job": dict(self.job)}).encode())


@dataclass(frozen=True)
class Unfinished:
    """A job that has a journal: it runs, or it was killed."""

    name: str
    job: dict[str, Any] | None
    """None if its manifest cannot be read."""
    n_steps: int
    n_bytes: int


def unfinished(root: Path) -> list[Unfinished]:
    """The jobs with a journal in the store at `root`, in the order of their names."""
    jobs = []
    for folder in _folders(root):
        sizes = {path: size_of(path) for path in _files(folder)}
        steps = [path for path in sizes if _STEP.fullmatch(path.name)]
        if sizes:  # an empty folder is what a process left that was killed as it removed it
            jobs.append(Unfinished(folder.name, _job(folder), len(steps), sum(sizes.values())))
    return jobs


def clear(root: Path) -> int:
    """Remove every journal of the store at `root`, but no file of others; gives the number of bytes."""
    n_bytes = sum(_remove(folder) for folder in _folders(root))
    with suppress(OSError):
        (root / _FOLDER).rmdir()
    return n_bytes


def _folders(root: Path) -> list[Path]:
    return [path for path in listed(root / _FOLDER) if _JOB.fullmatch(path.name) and path.is_dir()]


def _files(folder: Path) -> list[Path]:
    """The files of a journal, left-over temporary ones too; the manifest comes last.

    Removed in this order, a journal says what it is until it is gone, whenever the process is killed.
    """
    there = listed(folder)
    inside = (path for each in there if each.is_dir() for path in listed(each))
    return [path for path in (*inside, *there) if _OURS.fullmatch(path.name)]


def _remove(folder: Path) -> int:
    n_bytes = sum(discard(path) for path in _files(folder))
    for emptied in (*listed(folder), folder):
        with suppress(OSError):  # others' files are in it, or another process was first
            emptied.rmdir()
    return n_bytes


def _job(folder: Path) -> dict[str, Any] | None:
    with suppress(RunError):
        job = read_json(folder / _MANIFEST, "the manifest of a journal").get("job")
        return job if isinstance(job, dict) else None
    return None
