"""What is done of a job that was killed: one array a step, so that the next process goes on where it ended."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.files import canonical, digest
from prune_heads.reading import text_of, value_of
from prune_heads.store.arrays import SUFFIX, DamagedError, from_bytes, to_bytes
from prune_heads.store.objects import Objects

_STEPS_A_FOLDER = 1000
_ANY = "[0-9a-f]{64}"
_STEP = rf"\d+{re.escape(SUFFIX)}"
_BELOW = (rf"\d+/({_STEP}|\.{_STEP}\..*\.partial)", r"(manifest\.json|\.manifest\.json\..*\.partial)")
"""Steps and manifests of a journal, with what an interrupted writer has left.

Manifests are removed last: a journal says what it is until it is gone, whenever the process is killed.
"""


@dataclass(frozen=True)
class Journal:
    """The steps of one job, by number. Several processes may work on the same job."""

    objects: Objects  # of the store
    job: Mapping[str, Any]  # what the job is (JSON): model, data, masks, batches, everything that its arrays depend on

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
        return values if about == {"job": self.name, "step": step} else None

    def write(self, step: int, values: NDArray[np.float32]) -> None:
        """Record the array of a step; the manifest is written again if another process removed it.

        Raises:
            StoreError: If it cannot be written.
        """
        self.objects.write(self._step(step), to_bytes(values, {"job": self.name, "step": step}))
        self._write_manifest()

    def close(self) -> None:
        """The job is done: remove what was recorded. Another process of the same job may do so at the same time.

        Raises:
            StoreError: If we may not.
        """
        clear(self.objects, self.name)

    @cached_property
    def name(self) -> str:
        """The hash of the job."""
        return digest(self.job)

    def _step(self, step: int) -> str:
        return f"journals/{self.name}/{step // _STEPS_A_FOLDER}/{step}{SUFFIX}"

    def _write_manifest(self) -> None:
        manifest = f"journals/{self.name}/manifest.json"
        try:
            self.objects.read(manifest, 1)
        except OSError:
            self.objects.write(manifest, canonical({"job": dict(self.job)}).encode())


@dataclass
class Unfinished:
    """A job that has a journal: it runs, or it was killed."""

    name: str
    job: dict[str, Any] | None  # None if its manifest cannot be read
    n_steps: int = 0
    n_bytes: int = 0


def unfinished(objects: Objects) -> list[Unfinished]:
    """The jobs that have a journal in a store, in the order of their names."""
    found: dict[str, Unfinished] = {}
    for pattern in _BELOW:
        for path, n_bytes in objects.find(f"journals/{_ANY}/{pattern}").items():
            name = path.split("/")[1]
            one = found[name] = found.get(name) or Unfinished(name, _job(objects, name))
            one.n_steps += re.fullmatch(_STEP, path.rpartition("/")[2]) is not None
            one.n_bytes += n_bytes
    return [found[name] for name in sorted(found)]


def clear(objects: Objects, names: str = _ANY) -> int:
    """Remove the journals whose names match, but nothing of others; gives the number of bytes."""
    return sum(objects.remove(f"journals/{names}/{pattern}")[1] for pattern in _BELOW)


def _job(objects: Objects, name: str) -> dict[str, Any] | None:
    with suppress(OSError, ValueError, LookupError, TypeError):
        manifest = text_of(objects.read(f"journals/{name}/manifest.json"), name, ValueError)
        job = value_of(manifest, name, ValueError)["job"]
        return job if isinstance(job, dict) else None
    return None
