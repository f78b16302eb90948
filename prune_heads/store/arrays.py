"""Arrays that notice their own damage: safetensors with a description and a checksum over both.

A journal of them is what is done of a job that was killed: one array a step, so that the next process goes on there.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from prune_heads.files import canonical, digest, value_of
from prune_heads.store.objects import DamagedError, Objects

SUFFIX = ".safetensors"
_ARRAY, _ABOUT = "values", "prune_heads"
# A safetensors file is the length of the header (little-endian), the header (JSON), and the arrays' bytes.
_LENGTH_BYTES, _HEADER_BYTES = 8, 8192  # in the second number of bytes the header of nearly every array of ours ends

_STEPS_A_FOLDER = 1000
_ANY = "[0-9a-f]{64}"
_STEP = rf"\d+{re.escape(SUFFIX)}"
_BELOW = (rf"\d+/({_STEP}|\.{_STEP}\..*\.partial)", r"(manifest\.json|\.manifest\.json\..*\.partial)")
"""Steps and manifests of a journal, with what an interrupted writer has left.

Manifests are removed last: a journal says what it is until it is gone, whenever the process is killed.
"""


def to_bytes(values: NDArray[np.float32], about: Mapping[str, Any]) -> bytes:
    """An array of any shape and what it is (JSON); the same input gives the same bytes.

    A `ValueError` if it is not of float32: a silent conversion could change predictions.
    """
    if values.dtype != np.float32:
        raise ValueError(f"values must be float32; got {values.dtype}")
    values = np.ascontiguousarray(values)
    # One piece of metadata alone: safetensors writes several in a random order.
    text = canonical({"about": dict(about), "sha256": _checksum(about, values)})
    return save({_ARRAY: values}, metadata={_ABOUT: text})


def from_bytes(content: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The description and the array; a `DamagedError` if a bit of either is not what was written."""
    about, _, checksum = header_of(lambda n: content[:n], len(content))
    try:
        values: NDArray[np.float32] = load(content)[_ARRAY]
    except SafetensorError as error:
        raise DamagedError(f"not an array file: {error}") from error
    if _checksum(about, values) != checksum:
        raise DamagedError("the checksum differs")
    return about, values


def header_of(read: Callable[[int], bytes], n_bytes: int) -> tuple[dict[str, Any], tuple[int, ...], str]:
    """The description of an array, its shape and its checksum; of the values, only the length is checked.

    `read` gives so many of its first bytes, of `n_bytes` in all; mostly once, for those to the end of the header.
    A `DamagedError` if the header cannot be read, or the array has another length than it says.
    """
    start = read(min(_HEADER_BYTES, n_bytes)) if n_bytes else b""  # an object store gives no part of nothing
    end = _LENGTH_BYTES + int.from_bytes(start[:_LENGTH_BYTES], "little")
    if not _LENGTH_BYTES < end <= n_bytes:
        raise DamagedError("truncated, or not an array file")
    start = start if end <= len(start) else read(end)
    try:
        header = value_of(start[_LENGTH_BYTES:end], "header", DamagedError)
        array = header[_ARRAY]
        said = value_of(header["__metadata__"][_ABOUT].encode(), "header", DamagedError)
        about, checksum = said["about"], said["sha256"]
        shape, dtype = tuple(array["shape"]), array["dtype"]
        length = end + 4 * math.prod(shape)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedError("its header cannot be read") from error
    if dtype != "F32" or not isinstance(about, dict):
        raise DamagedError("its header is not one of ours")
    if length != n_bytes:
        raise DamagedError(f"{length} bytes long when written, {n_bytes} now")
    return about, shape, checksum


def _checksum(about: Mapping[str, Any], values: NDArray[np.float32]) -> str:
    said = canonical({"about": dict(about), "shape": list(values.shape), "dtype": "float32"})
    checksum = hashlib.sha256(said.encode())
    checksum.update(values.astype("<f4", copy=False).tobytes())
    return checksum.hexdigest()


@dataclass(frozen=True)
class Journal:
    """The steps of one job, by number, with what earlier processes left. Several may work on the same job.

    It is written when it is made. A `StoreError` if it cannot be written, then or later.
    """

    objects: Objects  # of the store
    job: Mapping[str, Any]  # what the job is (JSON): model, data, masks, batches, everything that its arrays depend on

    def __post_init__(self) -> None:
        self._write_manifest()

    def read(self, step: int) -> NDArray[np.float32] | None:
        """The array of a step (from 0); None if it is not there or damaged: it is then done again."""
        try:
            about, values = from_bytes(self.objects.read(self._step(step)))
        except (FileNotFoundError, DamagedError):
            return None
        return values if about == {"job": self.name, "step": step} else None

    def write(self, step: int, values: NDArray[np.float32]) -> None:
        """Record the array of a step; the manifest is written again if another process removed it."""
        self.objects.write(self._step(step), to_bytes(values, {"job": self.name, "step": step}))
        self._write_manifest()

    def close(self) -> None:
        """The job is done: remove what was recorded. Another process of the same job may do so at the same time."""
        clear_journals(self.objects, self.name)

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
        except (FileNotFoundError, DamagedError):
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


def clear_journals(objects: Objects, names: str = _ANY) -> int:
    """Remove the journals whose names match, but nothing of others; gives the number of bytes."""
    return sum(objects.remove(f"journals/{names}/{pattern}")[1] for pattern in _BELOW)


def _job(objects: Objects, name: str) -> dict[str, Any] | None:
    with suppress(FileNotFoundError, DamagedError, LookupError, TypeError):
        job = value_of(objects.read(f"journals/{name}/manifest.json"), "manifest", DamagedError)["job"]
        return job if isinstance(job, dict) else None
    return None
