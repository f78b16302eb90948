"""Bytes of one array that notice their own damage: safetensors with a description and a checksum over both."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from prune_heads.files import canonical
from prune_heads.reading import text_of, value_of

SUFFIX = ".safetensors"
_ARRAY, _ABOUT = "values", "prune_heads"
_LENGTH_BYTES = 8
"""A safetensors file is the length of the header (little-endian), the header (JSON), and the arrays' bytes."""

_HEADER_BYTES = 8192  # in which the header of nearly every array of ours ends


class DamagedError(ValueError):
    """A file is not what was written; the message says in a few words why."""


def to_bytes(values: NDArray[np.float32], about: Mapping[str, Any]) -> bytes:
    """An array of any shape and what it is (JSON); the same input gives the same bytes.

    Raises:
        ValueError: If the array is not of float32: a silent conversion could change predictions.
    """
    if values.dtype != np.float32:
        raise ValueError(f"values must be float32; got {values.dtype}")
    values = np.ascontiguousarray(values)
    # One piece of metadata alone: safetensors writes several in a random order.
    text = canonical({"about": dict(about), "sha256": _checksum(about, values)})
    return save({_ARRAY: values}, metadata={_ABOUT: text})


def from_bytes(content: bytes) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The description and the array, checked bit by bit.

    Raises:
        DamagedError: If a bit of either is not what was written.
    """
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

    Args:
        read: Gives so many of its first bytes; asked for those to the end of the header, mostly at once.
        n_bytes: How many it has in all.

    Raises:
        DamagedError: If the header cannot be read or the array has another length than it says.
    """
    start = read(min(_HEADER_BYTES, n_bytes)) if n_bytes else b""  # an object store gives no part of nothing
    end = _LENGTH_BYTES + int.from_bytes(start[:_LENGTH_BYTES], "little")
    if not _LENGTH_BYTES < end <= n_bytes:
        raise DamagedError("truncated, or not an array file")
    start = start if end <= len(start) else read(end)
    try:
        header = _json(start[_LENGTH_BYTES:end])
        array = header[_ARRAY]
        said = _json(header["__metadata__"][_ABOUT].encode())
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


def _json(content: bytes) -> Any:
    return value_of(text_of(content, "header", DamagedError), "header", DamagedError)


def _checksum(about: Mapping[str, Any], values: NDArray[np.float32]) -> str:
    said = canonical({"about": dict(about), "shape": list(values.shape), "dtype": "float32"})
    checksum = hashlib.sha256(said.encode())
    checksum.update(values.astype("<f4", copy=False).tobytes())
    return checksum.hexdigest()
