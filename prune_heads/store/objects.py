"""Objects: bytes under names such as `ab/abcd.safetensors`, in a folder or, by fsspec, on any object store.

An object appears whole or not at all, also where many processes, on many hosts, write the same one: a file is renamed
to its place, and an object store takes an object in one piece. So no locks are needed.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from prune_heads.store.folder import Folder

T = TypeVar("T")


class Objects(Protocol):
    """Where objects are kept. An absent place is an empty one."""

    @property
    def place(self) -> str:
        """As another process would name it, in whatever folder that runs. May hold a password: not to be shown."""

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """The object, or the first bytes of it.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If this one cannot be read.
            StoreError: If nothing there can be read.
        """

    def write(self, name: str, content: bytes) -> None:
        """Put an object where it belongs, in the place of an older one if there is one.

        Raises:
            StoreError: If it cannot be written; nothing half-written stays.
        """

    def find(self, pattern: str) -> dict[str, int]:
        """The objects whose names match, sorted, with their bytes.

        Args:
            pattern: A regular expression for each part of a name, with slashes between them.

        Raises:
            StoreError: If nothing there can be read.
        """

    def remove(self, pattern: str) -> tuple[int, int]:
        """Remove the objects whose names match; gives their number and bytes. Others may do so at the same time.

        Raises:
            StoreError: If we may not.
        """

    def each(self, function: Callable[[str], T], names: Iterable[str]) -> Iterator[T]:
        """What a function that reads gives for each name, in order; several at once where that is faster."""

    def check_writable(self) -> None:
        """To be called before long work.

        Raises:
            StoreError: If nothing can be written there, or the place cannot be made where it is not there yet.
        """


def is_url(place: str) -> bool:
    """Whether a place is a URL such as `s3://bucket/prefix`, and no path."""
    return "://" in place


class Nowhere:
    """See `Objects`: nothing is kept, and nothing is found."""

    place = ""

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """There is none."""
        raise FileNotFoundError(name)

    def write(self, name: str, content: bytes) -> None:
        """It is gone at once."""

    def find(self, pattern: str) -> dict[str, int]:
        """None."""
        return {}

    def remove(self, pattern: str) -> tuple[int, int]:
        """None."""
        return 0, 0

    def each(self, function: Callable[[str], T], names: Iterable[str]) -> Iterator[T]:
        """See `Objects`."""
        return map(function, names)

    def check_writable(self) -> None:
        """It always is."""


def objects_at(place: Path | str | None) -> Objects:
    """What is kept at a path or a URL; not looked at yet. None: nothing is.

    Raises:
        StoreError: If the URL is of no known kind, or the package for its kind is not installed.
    """
    if place is None:
        return Nowhere()
    if not is_url(str(place)):
        return Folder(Path(place))
    from fsspec.implementations.local import LocalFileSystem

    from prune_heads.store.remote import Remote, opened

    files, path = opened(str(place))
    return Folder(Path(path)) if isinstance(files, LocalFileSystem) else Remote(str(place), files, path)
