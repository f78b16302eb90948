"""What is kept of finished work, as objects in a folder or at a URL: predictions, and the steps of killed jobs.

Predictions are the logits of every example under a mask, by what they depend on: nothing runs twice. An entry is one
object, `ab/abcd....safetensors`. It holds float32: what is derived from it (labels, metrics, tests) is then exactly
what was computed. Many may write at once: the objects of one key are the same up to rounding, which may differ by batch
size, device and library.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import StoreError
from prune_heads.files import digest
from prune_heads.heads import HeadMask
from prune_heads.store.arrays import SUFFIX, Journal, Unfinished, clear_journals, from_bytes, header_of, to_bytes
from prune_heads.store.arrays import unfinished as unfinished
from prune_heads.store.objects import DamagedError, Objects, is_url, objects_at

_AT_ONCE = 16  # readings under way together; of an object store each takes tens of milliseconds, most of them waiting
FORMAT = 2  # part of every key: an entry of another format is one that is not there

_NAME = rf"[0-9a-f]{{64}}{re.escape(SUFFIX)}"
_ENTRIES = f"[0-9a-f]{{2}}/{_NAME}"
_LEFT_OVERS = rf"[0-9a-f]{{2}}/\.{_NAME}\..*\.partial"


def default_root() -> Path | str:
    """`$PRUNE_HEADS_STORE`, else `prune-heads/predictions` in `$XDG_CACHE_HOME`, else in `~/.cache`.

    A `StoreError` if the home folder is needed and not known.
    """
    try:
        if named := os.environ.get("PRUNE_HEADS_STORE"):
            return named if is_url(named) else Path(named).expanduser()
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cache / "prune-heads" / "predictions"
    except RuntimeError as error:
        said = f"the home folder of the store must be known; got: {error} Name one with --store or PRUNE_HEADS_STORE"
        raise StoreError(said) from error


@dataclass(frozen=True)
class PredictionKey:
    """All that logits depend on."""

    model: str  # fingerprint of weights and configuration
    data: str  # fingerprint of texts, labels, their order, and tokens
    mask: HeadMask
    dtype: str  # In which the model ran, e.g. `"bfloat16"`; stored is always float32.
    objective: str = ""  # name, code and settings of what is predicted, as JSON
    instead: str = ""  # what stands in for masked heads, as JSON; no part of the entry where nothing does

    def to_json(self) -> dict[str, Any]:
        """The key as it stands in the entry."""
        said = {name: value for name, value in vars(self).items() if name != "instead" or value}
        return {"format": FORMAT, **said, "mask": self.mask.to_json()}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the key; the name of the entry."""
        return digest(self.to_json())


@dataclass(frozen=True)
class Entry:
    """A row of the list of what is stored."""

    digest: str
    name: str  # path in the store
    n_bytes: int
    about: Mapping[str, str] = field(default_factory=dict)  # for people: model, task, split
    heads_pruned: tuple[str, ...] = ()  # descriptors, from 1
    dtype: str | None = None
    n_examples: int | None = None
    damaged: str | None = None  # what is wrong with it; of a damaged entry the rest may be unknown


class PredictionStore:
    """Predictions in a folder or at a URL. An absent place is an empty store."""

    def __init__(self, root: Path | str | None, on_damage: Callable[[str], None] = lambda description: None) -> None:
        """A store at `root`, not touched yet; `on_damage` is told of each damaged entry that `get` meets.

        None is a store that keeps nothing. A `StoreError` if `root` is a URL of no known kind, or the package for its
        kind is not installed.
        """
        self.objects = objects_at(root)
        self.keeps = root is not None
        self.on_damage = on_damage

    def get(self, key: PredictionKey) -> NDArray[np.float32] | None:
        """The logits, `(n_examples, n_labels)`; None if they must be computed, damaged entries included.

        A `StoreError` if nothing can be read from the store.
        """
        try:
            about, logits = from_bytes(self.objects.read(_name(key.digest)))
            if about.get("key") != key.to_json() or logits.ndim != 2:
                raise DamagedError("it holds another key")
        except FileNotFoundError:
            return None
        except DamagedError as error:
            self.on_damage(f"the stored predictions {key.digest[:12]} are damaged ({error}); they are computed again")
            return None
        return logits

    def put(self, key: PredictionKey, logits: NDArray[np.float32], *, about: Mapping[str, str]) -> None:
        """Store logits, `(n_examples, n_labels)`; `about` is for people and no part of the key.

        A `StoreError` if they cannot be written; nothing half-written stays.
        """
        self.objects.write(_name(key.digest), to_bytes(logits, {"key": key.to_json(), "for_people": dict(about)}))

    def entries(self, *, thorough: bool = False) -> Iterator[Entry]:
        """What is stored, in the order of the digests; reads headers alone unless `thorough`.

        A `StoreError` if the store is no folder, or may not be read.
        """
        sizes = self.objects.find(_ENTRIES)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = pool.map(lambda name: self._entry(name, sizes[name], thorough), sizes)
            yield from (entry for entry in found if entry is not None)

    def verify(self) -> list[Entry]:
        """The damaged entries; reads everything."""
        return [entry for entry in self.entries(thorough=True) if entry.damaged]

    def clear(self, *, damaged_only: bool = False) -> tuple[int, int]:
        """Remove all entries, journals and left-over temporary files, or the damaged entries; nothing of others.

        Gives the number of entries and of bytes removed; a `StoreError` if the system does not let us.
        """
        names = [re.escape(entry.name) for entry in self.verify()] if damaged_only else [_ENTRIES]
        gone = [self.objects.remove(name) for name in names]
        left_over = 0 if damaged_only else self.objects.remove(_LEFT_OVERS)[1] + clear_journals(self.objects)
        return sum(n for n, _ in gone), sum(n_bytes for _, n_bytes in gone) + left_over

    def _entry(self, name: str, n_bytes: int, thorough: bool) -> Entry | None:
        """A row of the list; None if another process has just cleared it."""
        stem = name.rpartition("/")[2].removesuffix(SUFFIX)
        try:
            if thorough:
                from_bytes(self.objects.read(name))
            about, shape, _ = header_of(partial(self.objects.read, name), n_bytes)
            key, for_people = about.get("key"), about.get("for_people")
            if not (isinstance(key, dict) and digest(key) == stem and name == _name(stem)):
                raise DamagedError("it holds another key")
            if not (isinstance(for_people, dict) and len(shape) == 2):
                raise DamagedError("it holds no logits")
        except FileNotFoundError:
            return None
        except DamagedError as error:
            return Entry(stem, name, n_bytes, damaged=str(error))
        return Entry(stem, name, n_bytes, for_people, tuple(key["mask"]["heads_pruned"]), key["dtype"], shape[0])


def _name(of_key: str) -> str:
    return f"{of_key[:2]}/{of_key}{SUFFIX}"
