"""Predictions on disk: the logits of every example under a mask, by what they depend on. Nothing runs twice.

An entry is one safetensors file, `ab/abcd....safetensors`, named by the hash of its key. It holds float32: what
is derived from it (labels, metrics, tests) is then exactly what was computed. Many processes, on many hosts, may
write at once: files only ever appear whole, and those of one key hold the same up to rounding, which may differ by
batch size, device and library.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads import journal
from prune_heads.arrays import (
    SUFFIX,
    DamagedError,
    changing,
    discard,
    listed,
    read_array,
    read_header,
    size_of,
    write_array,
)
from prune_heads.canonical import digest
from prune_heads.errors import StoreError
from prune_heads.heads import HeadMask

FORMAT = 1
"""Part of every key: an entry of another format is one that is not there."""

_FOLDER = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}")
_LEFT_OVER = re.compile(rf"\.{_ENTRY.pattern}\..*\.partial")
_PROBE = b"\0" * 65536


def default_root() -> Path:
    """`$PRUNE_HEADS_STORE`, else `prune-heads/predictions` in `$XDG_CACHE_HOME`, else in `~/.cache`.

    Raises:
        StoreError: If the home folder is needed and not known.
    """
    try:
        if named := os.environ.get("PRUNE_HEADS_STORE"):
            return Path(named).expanduser()
        cache = os.environ.get("XDG_CACHE_HOME")
        return (Path(cache) if cache else Path.home() / ".cache") / "prune-heads" / "predictions"
    except RuntimeError as error:
        raise StoreError(
            f"the home folder must be known to find the store; got: {error} Name a folder with --store or "
            "PRUNE_HEADS_STORE"
        ) from error


@dataclass(frozen=True)
class PredictionKey:
    """All that logits depend on."""

    model: str
    """Fingerprint of weights and configuration."""
    data: str
    """Fingerprint of texts, labels, their order, and tokens."""
    mask: HeadMask
    dtype: str
    """In which the model ran, e.g. `"bfloat16"`; stored is always float32."""

    def to_json(self) -> dict[str, Any]:
        """The key as it stands in the entry."""
        return {
            "format": FORMAT,
            "model": self.model,
            "data": self.data,
            "mask": self.mask.to_json(),
            "dtype": self.dtype,
        }

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the key; the name of the entry."""
        return digest(self.to_json())


@dataclass(frozen=True)
class Entry:
    """A row of the list of what is stored."""

    digest: str
    name: str
    """Path in the store."""
    n_bytes: int
    about: Mapping[str, str]
    """For people: model, task, split."""
    heads_pruned: tuple[str, ...]
    """Descriptors, from 1."""
    dtype: str | None
    n_examples: int | None
    damaged: str | None = None
    """What is wrong with it; of a damaged entry the rest may be unknown."""


class PredictionStore:
    """A folder of predictions. An absent folder is an empty store."""

    def __init__(self, root: Path, on_damage: Callable[[str], None] = lambda description: None) -> None:
        """A store at `root`, not touched yet; `on_damage` is told of each damaged entry that `get` meets."""
        self.root = root
        self.on_damage = on_damage

    def check_writable(self) -> None:
        """To be called before long work.

        Raises:
            StoreError: If the store cannot be written, or made where it is not there yet.
        """
        root = self.root.absolute()
        with changing(root):
            nearest = next(folder for folder in (root, *root.parents) if folder.exists())
            with TemporaryFile(dir=nearest) as file:
                file.write(_PROBE)

    def get(self, key: PredictionKey) -> NDArray[np.float32] | None:
        """The logits, `(n_examples, n_labels)`; None if they must be computed, damaged entries included."""
        try:
            about, logits = read_array(self._path(key.digest))
            if about.get("key") != key.to_json() or logits.ndim != 2:
                raise DamagedError("it holds another key")
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self.on_damage(
                f"the stored predictions {key.digest[:12]} are damaged ({error}); they are computed again"
            )
            return None
        return logits

    def put(self, key: PredictionKey, logits: NDArray[np.float32], *, about: Mapping[str, str]) -> None:
        """Store logits, `(n_examples, n_labels)`; `about` is for people and no part of the key.

        Raises:
            StoreError: If they cannot be written; nothing half-written stays.
        """
        write_array(self._path(key.digest), logits, {"key": key.to_json(), "for_people": dict(about)})

    def entries(self, *, thorough: bool = False) -> Iterator[Entry]:
        """What is stored, in the order of the digests; reads headers alone unless `thorough`.

        Raises:
            StoreError: If the store is no folder, or may not be read.
        """
        for path in self._files(_ENTRY):
            with suppress(FileNotFoundError):  # another process cleared it
                yield self._entry(path, thorough)

    def verify(self) -> list[Entry]:
        """The damaged entries; reads everything."""
        return [entry for entry in self.entries(thorough=True) if entry.damaged]

    def clear(self, *, damaged_only: bool = False) -> tuple[int, int]:
        """Remove all entries, journals and left-over temporary files, or the damaged entries; no file of others.

        Returns:
            The number of entries and of bytes removed.

        Raises:
            StoreError: If the system does not let us.
        """
        if damaged_only:
            gone = [self.root / entry.name for entry in self.verify()]
            return len(gone), sum(discard(path) for path in gone)
        gone = list(self._files(_ENTRY))
        n_bytes = sum(discard(path) for path in (*gone, *self._files(_LEFT_OVER)))
        for folder in self._folders():
            with suppress(OSError):  # not empty: files of others, or of a writer that just came
                folder.rmdir()
        return len(gone), n_bytes + journal.clear(self.root)

    def _path(self, name: str) -> Path:
        return self.root / name[:2] / f"{name}{SUFFIX}"

    def _folders(self) -> Iterator[Path]:
        return (path for path in listed(self.root) if _FOLDER.fullmatch(path.name) and path.is_dir())

    def _files(self, pattern: re.Pattern[str]) -> Iterator[Path]:
        for folder in self._folders():
            yield from (path for path in listed(folder) if pattern.fullmatch(path.name))

    def _entry(self, path: Path, thorough: bool) -> Entry:
        name, n_bytes = path.relative_to(self.root).as_posix(), size_of(path)
        try:
            header = read_header(path)
            if thorough:
                read_array(path)
            key, about = header.about.get("key"), header.about.get("for_people")
            if not (isinstance(key, dict) and digest(key) == path.stem and path == self._path(path.stem)):
                raise DamagedError("it holds another key")
            if not (isinstance(about, dict) and len(header.shape) == 2):
                raise DamagedError("it holds no logits")
        except DamagedError as error:
            return Entry(path.stem, name, n_bytes, {}, (), None, None, damaged=str(error))
        heads = tuple(key["mask"]["heads_pruned"])
        return Entry(path.stem, name, n_bytes, about, heads, key["dtype"], header.shape[0])
