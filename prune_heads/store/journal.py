"""What is done of a job that was killed: one array a step, so that the next process goes on where it ended."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.canonical import canonical, digest
from prune_heads.reading import text_of, value_of
from prune_heads.store.arrays import SUFFIX, DamagedError, from_bytes, to_bytes
from prune_heads.store.objects import Objects

_FOLDER = "journals"
_MANIFEST = "manifest.json"
_STEPS_A_FOLDER = 1000
_ANY = "[0-9a-f]{64}"
_STEP = rf"\d+{re.escape(SUFFIX)}"
_STEPS = rf"\d+/({_STEP}|\.{_STEP}\..*\.partial)"
"""Below a journal, with what an interrupted writer has left."""
_MANIFESTS = r"(manifest\.json|\.manifest\.json\..*\.partial)"


@dataclass(frozen=True)
class Journal:
    """The steps of one job, by number. Several processes may work on the same job."""

    objects: Objects
    """Of the store."""
    job: Mapping[str, Any]
    """What the job is (JSON): model, data, masks, batches, everything that its arrays depend on."""

    @classmethod
    def open(cls, objects: Objects, job: Mapping[str, Any]) -> "Journal":
        """The journal of this job in a store, with what earlier processes left in it.

        Raises:
            StoreError: If it cannot be written.
        """
        journal = cls(objects, job)
        journal._write_manifest()
        return journal

    def read(self, step: int) -> NDArray[np.float32] | None:
        """The array of a step (from 0); None if it is not there or damaged: it is then done again."""
        try:
            about, values = from_bytes(self.objects.read(self._step(step)))
        except (OSError, DamagedError):
            return None
        return values if about == self._about(step) else None

    def write(self, step: int, values: NDArray[np.float32]) -> None:
        """Record the array of a step; the manifest is written again if another process removed it.

        Raises:
            StoreError: If it cannot be written.
        """
        self.objects.write(self._step(step), to_bytes(values, self._about(step)))
        self._write_manifest()

    def close(self) -> None:
        """The job is done: remove what was recorded. Another process of the same job may do so at the same time.

        Raises:
            StoreError: If we may not.
        """
        _remove(self.objects, self.name)

    @cached_property
    def name(self) -> str:
        """The hash of the job."""
        return digest(self.job)

    def _step(self, step: int) -> str:
        return f"{_FOLDER}/{self.name}/{step // _STEPS_A_FOLDER}/{step}{SUFFIX}"

    def _about(self, step: int) -> dict[str, Any]:
        return {"job": self.name, "step": step}

    def _write_manifest(self) -> None:
        manifest = f"{_FOLDER}/{self.name}/{_MANIFEST}"
        try:
            self.objects.read(manifest, 1)
        except OSError:
            self.objects.write(manifest, canonical({"job": dict(self.job)}).encode())


@dataclass(frozen=True)
class Unfinished:
    """A job that has a journal: it runs, or it was killed."""

    name: str
    job: dict[str, Any] | None
    """None if its manifest cannot be read."""
    n_steps: int
    n_bytes: int


def unfinished(objects: Objects) -> list[Unfinished]:
    """The jobs that have a journal in a store, in the order of their names."""
    sizes: dict[str, dict[str, int]] = {}
    for pattern in (_STEPS, _MANIFESTS):
        for path, n_bytes in objects.find(f"{_FOLDER}/{_ANY}/{pattern}").items():
            sizes.setdefault(path.split("/")[1], {})[path] = n_bytes
    return [
        Unfinished(
            name,
            _job(objects, name),
            sum(re.fullmatch(_STEP, path.rpartition("/")[2]) is not None for path in sizes[name]),
            sum(sizes[name].values()),
        )
        for name in sorted(sizes)
    ]


def clear(objects: Objects) -> int:
    """Remove every journal of a store, but nothing of others; gives the number of bytes."""
    return _remove(objects, _ANY)


def _remove(objects: Objects, names: str) -> int:
    """Remove the journals whose names match.

    Their manifests go last: a journal says what it is until it is gone, whenever the process is killed.
    """
    return sum(objects.remove(f"{_FOLDER}/{names}/{pattern}")[1] for pattern in (_STEPS, _MANIFESTS))


def _job(objects: Objects, name: str) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, LookupError, TypeError):
        manifest = text_of(objects.read(f"{_FOLDER}/{name}/{_MANIFEST}"), name, ValueError)
        job = value_of(manifest, name, ValueError)["job"]
        return job if isinstance(job, dict) else None
    return None
