"""Files of one array that notice their own damage: safetensors with a description and a checksum over both."""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from prune_heads.canonical import canonical
from prune_heads.errors import StoreError
from prune_heads.files import write_bytes

SUFFIX = ".safetensors"
_ARRAY, _ABOUT = "values", "prune_heads"
_LENGTH_BYTES = 8
"""A safetensors file is the length of the header (little-endian), the header (JSON), and the arrays' bytes."""


class DamagedError(ValueError):
    """A file is not what was written; the message says in a few words why."""


@dataclass(frozen=True)
class Header:
    """What an array file says of itself."""

    about: dict[str, Any]
    shape: tuple[int, ...]
    checksum: str


def write_array(target: Path, values: NDArray[np.float32], about: Mapping[str, Any]) -> None:
    """Write an array of any shape and what it is (JSON) at once; the same input gives the same bytes.

    Raises:
        StoreError: If it cannot be written; nothing half-written stays.
        ValueError: If the array is not of float32: a silent conversion could change predictions.
    """
    if values.dtype != np.float32:
        raise ValueError(f"values must be float32; got {values.dtype}")
    values = np.ascontiguousarray(values)
    checksum = _checksum(about, values)
    # One piece of metadata alone: safetensors writes several in a random order.
    text = canonical({"about": dict(about), "sha256": checksum})
    with changing(target.parent):
        write_bytes(target, save({_ARRAY: values}, metadata={_ABOUT: text}))


def read_array(source: Path) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The description and the array, checked bit by bit.

    Raises:
        DamagedError: If a bit of either is not what was written, or the file cannot be read.
        FileNotFoundError: If there is no such file.
    """
    content, n_bytes = _read(source, whole=True)
    header = _header(content, n_bytes)
    try:
        values: NDArray[np.float32] = load(content)[_ARRAY]
    except SafetensorError as error:
        raise DamagedError(f"not an array file: {error}") from error
    if _checksum(header.about, values) != header.checksum:
        raise DamagedError("the checksum differs")
    return header.about, values


def read_header(source: Path) -> Header:
    """What the file says of itself; of the array, only the length is checked.

    Raises:
        DamagedError: If the header cannot be read or the file has another length than it says.
        FileNotFoundError: If there is no such file.
    """
    return _header(*_read(source, whole=False))


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Files in `folder` are written or removed inside.

    Raises:
        StoreError: If the system does not let us, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the store of predictions must be writable, on a disk with space left; got {folder} "
            f"({error.strerror or error}). Free space there, or name another folder with --store"
        ) from error


def discard(path: Path) -> int:
    """Remove a file that another process may be removing too; gives the bytes that it had.

    Raises:
        StoreError: If the system does not let us.
    """
    n_bytes = size_of(path)
    with changing(path.parent):
        path.unlink(missing_ok=True)
    return n_bytes


def listed(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where there is none, or another process has just removed it.

    Raises:
        StoreError: If it is no folder, or may not be read.
    """
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"the store must be a folder that can be read; got {folder} ({error.strerror or error}). "
            "Name another with --store"
        ) from error


def size_of(path: Path) -> int:
    """Bytes of a file that another process may be removing."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(source: Path, *, whole: bool) -> tuple[bytes, int]:
    """The file, whole or up to the end of its header, and its length."""
    try:
        with source.open("rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            start = file.read(_LENGTH_BYTES)
            n_header = int.from_bytes(start, "little")
            return start + file.read(n_bytes if whole else min(n_header, n_bytes)), n_bytes
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:  # below a file nothing can be; who writes there is told so
        raise FileNotFoundError(str(error)) from error
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror or error}") from error


def _header(content: bytes, n_bytes: int) -> Header:
    """The header at the start of `content`, which belongs to a file of `n_bytes`."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    if not _LENGTH_BYTES < end <= n_bytes:
        raise DamagedError("truncated, or not an array file")
    try:
        header = json.loads(content[_LENGTH_BYTES:end])
        array = header[_ARRAY]
        said = json.loads(header["__metadata__"][_ABOUT])
        about, checksum = said["about"], said["sha256"]
        shape, dtype = tuple(array["shape"]), array["dtype"]
        length = end + 4 * math.prod(shape)
    except (ValueError, TypeError, LookupError) as error:
        raise DamagedError("its header cannot be read") from error
    if dtype != "F32" or not isinstance(about, dict):
        raise DamagedError("its header is not one of ours")
    if length != n_bytes:
        raise DamagedError(f"{length} bytes long when written, {n_bytes} now")
    return Header(about, shape, checksum)


def _checksum(about: Mapping[str, Any], values: NDArray[np.float32]) -> str:
    said = canonical({"about": dict(about), "shape": list(values.shape), "dtype": "float32"})
    checksum = hashlib.sha256(said.encode())
    checksum.update(values.astype("<f4", copy=False).tobytes())
    return checksum.hexdigest()
