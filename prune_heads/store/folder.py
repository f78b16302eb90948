"""Objects in a folder, on a disk that all who use it share."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prune_heads.errors import StoreError
from prune_heads.files import write_bytes
from prune_heads.store.objects import PROBE, Nowhere, Objects, is_url


class Folder(Objects):
    """See `Objects`. Files are written by renaming; folders that become empty are removed."""

    CURE = "Free space there, or name another folder with --store"

    def __init__(self, root: Path) -> None:
        super().__init__(str(root.absolute()))
        self.root = root

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """See `Objects`."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(n_bytes)
        except IsADirectoryError as error:
            raise StoreError(
                f"an object of the store must be a file; {self.root / name} is a folder. Remove it, or name another "
                "store with --store"
            ) from error
        except NotADirectoryError as error:  # below a file there is nothing; the first write says so
            raise FileNotFoundError(str(error)) from error

    def write(self, name: str, content: bytes) -> None:
        """See `Objects`."""
        with self._changing():
            write_bytes(self.root / name, content)

    def find(self, pattern: str) -> dict[str, int]:
        """See `Objects`; folders that do not match are not looked into."""
        found = {path: _size(path) for path in self._matching(pattern) if not path.is_dir()}
        return {path.relative_to(self.root).as_posix(): size for path, size in found.items() if size is not None}

    def remove(self, pattern: str) -> tuple[int, int]:
        """See `Objects`."""
        sizes = []
        for path in self._matching(pattern):
            if path.is_dir():
                with suppress(OSError):  # not empty: files of others, or of a writer that just came
                    path.rmdir()
                continue
            sizes.append(_size(path) or 0)
            with self._changing():
                path.unlink(missing_ok=True)
        return len(sizes), sum(sizes)

    def check_writable(self) -> None:
        """See `Objects`; folders that are made for it do not stay."""
        path = self.root.absolute() / PROBE
        made = [folder for folder in path.parents if not os.path.lexists(folder)]
        try:
            super().check_writable()
        finally:
            for folder in made:
                with suppress(OSError):  # another process may have put something there
                    folder.rmdir()

    def _matching(self, pattern: str) -> Iterator[Path]:
        return _matching(self.root, pattern.split("/"))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = "writable, on a disk with space left"
            raise self.refused(what, str(self.root), error.strerror or str(error)) from error


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


def _size(path: Path) -> int | None:
    """Bytes of a file; None if another process has just removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError:  # a link that leads to itself: whoever reads it is told
        return path.lstat().st_size
