"""Objects in a folder, on a disk that all who use it share."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TypeVar

from prune_heads.errors import StoreError
from prune_heads.files import write_bytes

T = TypeVar("T")
_PROBE = b"\0" * 65536


class Folder:
    """See `Objects`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def place(self) -> str:
        """The absolute path."""
        return str(self.root.absolute())

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """The file, or the first bytes of it."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(n_bytes)
        except IsADirectoryError as error:
            raise StoreError(
                f"an object of the store must be a file; {self.root / name} is a folder. Remove it, or name another "
                "store with --store"
            ) from error
        except NotADirectoryError as error:  # below a file nothing can be; who writes there is told so
            raise FileNotFoundError(str(error)) from error

    def write(self, name: str, content: bytes) -> None:
        """Write the file at once, by renaming."""
        target = self.root / name
        with _changing(target.parent):
            write_bytes(target, content)

    def find(self, pattern: str) -> dict[str, int]:
        """The files that match; folders that do not are not looked into."""
        sizes = {}
        for path in _matching(self.root, pattern.split("/")):
            if not path.is_dir():
                with suppress(FileNotFoundError):  # another process has just removed it
                    sizes[path.relative_to(self.root).as_posix()] = _file_size(path)
        return sizes

    def remove(self, pattern: str) -> tuple[int, int]:
        """Remove the files that match, and of the folders on the way to them those that are empty."""
        sizes = []
        for path in _matching(self.root, pattern.split("/")):
            if path.is_dir():
                with suppress(OSError):  # not empty: files of others, or of a writer that just came
                    path.rmdir()
                continue
            sizes.append(_size_of(path))
            with _changing(path.parent):
                path.unlink(missing_ok=True)
        return len(sizes), sum(sizes)

    def each(self, function: Callable[[str], T], names: Iterable[str]) -> Iterator[T]:
        """One after the other: a disk does not make us wait."""
        return map(function, names)

    def check_writable(self) -> None:
        """Make the folder, and a file without a name in it; neither stays."""
        root = self.root.absolute()
        made = [folder for folder in (root, *root.parents) if not os.path.lexists(folder)]
        with _changing(root):
            try:
                root.mkdir(parents=True, exist_ok=True)
                with TemporaryFile(dir=root) as file:
                    file.write(_PROBE)
            finally:
                for folder in made:
                    with suppress(OSError):  # another process may have put something there
                        folder.rmdir()


def _matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What matches below a folder; of the folders on the way, each after what is in it."""
    first, *rest = parts
    literal = re.escape(first) == first
    for path in [folder / first] if literal else _listed(folder):
        if not re.fullmatch(first, path.name):
            continue
        if rest and path.is_dir():
            yield from _matching(path, rest)
            yield path
        elif not rest and (not literal or path.exists()):
            yield path


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where there is none, or another process has just removed it."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(
            f"the store must be a folder that can be read; got {folder} ({error.strerror or error}). "
            "Name another with --store"
        ) from error


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise
    except OSError:  # a link that leads to itself: who reads it is told
        return path.lstat().st_size


def _size_of(path: Path) -> int:
    """Bytes of a file that another process may be removing."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextmanager
def _changing(folder: Path) -> Iterator[None]:
    """Files in `folder` are written or removed inside; the system's refusal becomes ours."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the store of predictions must be writable, on a disk with space left; got {folder} "
            f"({error.strerror or error}). Free space there, or name another folder with --store"
        ) from error
