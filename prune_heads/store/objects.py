"""Objects: bytes under names such as `ab/abcd.safetensors`, in a folder or, by fsspec, on any object store.

An object appears whole or not at all, also where many processes, on many hosts, write the same one: a file is renamed
to its place, and an object store takes an object in one piece. So no locks are needed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, TypeVar

from prune_heads.errors import StoreError

T = TypeVar("T")
PROBE = f"00/.{'0' * 64}.safetensors.probe.partial"
"""Named like a file that an interrupted writer leaves, so that clearing takes it."""


class Objects(ABC):
    """A place where objects are kept. An absent place is an empty one."""

    CURE: ClassVar[str]

    def __init__(self, place: str) -> None:
        self.place = place
        """As another process would name it, in whatever folder that runs. May hold a password: not to be shown."""

    @abstractmethod
    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """The object, or the first bytes of it.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If this one cannot be read.
            StoreError: If nothing there can be read.
        """

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Put an object where it belongs, in the place of an older one if there is one.

        Raises:
            StoreError: If it cannot be written; nothing half-written stays.
        """

    @abstractmethod
    def find(self, pattern: str) -> dict[str, int]:
        """The objects whose names match, sorted, with their bytes.

        Args:
            pattern: A regular expression for each part of a name, with slashes between them.

        Raises:
            StoreError: If nothing there can be read.
        """

    @abstractmethod
    def remove(self, pattern: str) -> tuple[int, int]:
        """Remove the objects whose names match; gives their number and bytes. Others may do so at the same time.

        Raises:
            StoreError: If we may not.
        """

    def each(self, function: Callable[[str], T], names: Iterable[str]) -> Iterator[T]:
        """What a function that reads gives for each name, in order; several at once where that is faster."""
        return map(function, names)

    def check_writable(self) -> None:
        """Put an object and remove it, before long work.

        Raises:
            StoreError: If nothing can be written there, or the place cannot be made where it is not there yet.
        """
        self.write(PROBE, b"\0" * 65536)
        self.remove(PROBE.replace(".", r"\."))

    def refused(self, what: str, shown: str, said: str) -> StoreError:
        """The error for a store that is not `what` it must be."""
        return StoreError(f"the store of predictions must be {what}; got {shown} ({said}). {self.CURE}")


def is_url(place: str) -> bool:
    """Whether a place is a URL such as `s3://bucket/prefix`, and no path."""
    return "://" in place


class Nowhere(Objects):
    """Nothing is kept, and nothing is found."""

    CURE = ""

    def __init__(self) -> None:
        super().__init__("")

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

    def check_writable(self) -> None:
        """It always is."""
