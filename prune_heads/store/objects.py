"""Objects: bytes under names such as `ab/abcd.safetensors`, in a folder or, by fsspec, on any object store.

An object appears whole or not at all, also where many processes, on many hosts, write the same one: a file is renamed
to its place, and an object store takes an object in one piece. So no locks are needed.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from prune_heads.errors import StoreError, first_line
from prune_heads.files import write_bytes

_PROBE = f"00/.{'0' * 64}.safetensors.probe.partial"  # named like what an interrupted writer leaves


class DamagedError(ValueError):
    """An object cannot be read, or is not what was written; the message says in a few words why."""


class Objects:
    """A place where objects are kept. An absent place is an empty one. This one keeps nothing, and finds nothing.

    Where the place cannot be read, written or made, whoever asks it for something gets a `StoreError`.
    """

    cure = ""

    def __init__(self, place: str = "") -> None:
        self.place = place
        """As another process would name it, in whatever folder that runs. May hold a password: not to be shown."""

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """The object, or the first bytes of it.

        A `FileNotFoundError` if there is none; a `DamagedError` if this one cannot be read.
        """
        raise FileNotFoundError(name)

    def write(self, name: str, content: bytes) -> None:
        """Put an object where it belongs, in the place of an older one if there is one; nothing half-written stays."""

    def find(self, pattern: str) -> dict[str, int]:
        """The objects whose names match, sorted, with their bytes.

        A pattern has a regular expression for each part of a name, with slashes between them.
        """
        return {}

    def remove(self, pattern: str) -> tuple[int, int]:
        """Remove the objects whose names match; gives their number and bytes. Others may do so at the same time."""
        return 0, 0

    def check_writable(self) -> None:
        """Put an object and remove it, before long work; also where the place must be made for it first."""
        self.write(_PROBE, b"\0" * 65536)
        self.remove(re.escape(_PROBE))

    @contextmanager
    def _telling(self, what: str, *passed: type[Exception]) -> Iterator[None]:
        """Tell that the place is not `what` it must be, whatever the error is: each file system has its own."""
        try:
            yield
        except passed:
            raise
        except Exception as error:
            got = f"{_shown(self.place)} ({_said(error, self.place)})"
            raise StoreError(f"the store of predictions must be {what}; got {got}. {self.cure}") from error


class Folder(Objects):
    """In a folder, on a disk that all who use it share. Folders that become empty are removed."""

    cure = "Make room or allow it there, or name another folder with --store"

    def __init__(self, root: Path) -> None:
        super().__init__(str(root.absolute()))
        self.root = root

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """See `Objects`."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(n_bytes)
        except (FileNotFoundError, NotADirectoryError) as error:  # below a file there is nothing; a write says so
            raise FileNotFoundError(str(error)) from error
        except IsADirectoryError as error:
            must = "must be a file, not a folder. Remove it, or name another --store"
            raise StoreError(f"{self.root / name} {must}") from error
        except OSError as error:
            raise DamagedError(f"cannot be read: {error.strerror or error}") from error

    def write(self, name: str, content: bytes) -> None:
        """See `Objects`."""
        with self._telling("writable, on a disk with space left"):
            write_bytes(self.root / name, content)

    def find(self, pattern: str) -> dict[str, int]:
        """See `Objects`; folders that do not match are not looked into."""
        found = self._matching(self.root, pattern.split("/"))
        return {path.relative_to(self.root).as_posix(): size for path, size in found if size is not None}

    def remove(self, pattern: str) -> tuple[int, int]:
        """See `Objects`."""
        sizes = []
        for path, size in self._matching(self.root, pattern.split("/")):
            if size is None:
                with suppress(OSError):  # not empty: files of others, or of a writer that just came
                    path.rmdir()
                continue
            sizes.append(size)
            with self._telling("writable, on a disk with space left"):
                path.unlink(missing_ok=True)
        return len(sizes), sum(sizes)

    def check_writable(self) -> None:
        """See `Objects`; folders that are made for it do not stay."""
        made = [folder for folder in (self.root.absolute() / _PROBE).parents if not os.path.lexists(folder)]
        try:
            super().check_writable()
        finally:
            for folder in made:
                with suppress(OSError):  # another process may have put something there
                    folder.rmdir()

    def _matching(self, folder: Path, parts: Sequence[str]) -> Iterator[tuple[Path, int | None]]:
        """The files that match below a folder, by name, with their bytes; and the folders, each after what is in it."""
        first, *rest = parts
        paths: list[Path] = []
        with suppress(FileNotFoundError), self._telling("a folder that can be read", FileNotFoundError):
            paths = sorted(folder.iterdir())
        for path in [path for path in paths if re.fullmatch(first, path.name)]:
            if path.is_dir():
                yield from self._matching(path, rest) if rest else ()
                yield path, None
            elif not rest and os.path.lexists(path):
                with suppress(FileNotFoundError):  # another process has just removed it
                    yield path, (path.stat() if path.exists() else path.lstat()).st_size  # of a broken link its own


class Remote(Objects):
    """On an object store, or any other file system of fsspec that serves and takes an object whole, by one request."""

    cure = "Check its address and your credentials for it, or name another with --store"

    def __init__(self, url: str, files: Any, root: str) -> None:
        super().__init__(url)
        self.files, self.root = files, root.rstrip("/")

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """See `Objects`."""
        span = {} if n_bytes is None else {"start": 0, "end": n_bytes}
        with self._telling("readable", FileNotFoundError):
            content: bytes = self.files.cat_file(f"{self.root}/{name}", **span)
        return content

    def write(self, name: str, content: bytes) -> None:
        """See `Objects`."""
        with self._telling("writable"):
            self.files.pipe_file(f"{self.root}/{name}", content)

    def find(self, pattern: str) -> dict[str, int]:
        """See `Objects`; by one listing of all below what of the pattern is literal."""
        parts = pattern.split("/")
        start = "/".join((self.root, *takewhile(lambda part: re.escape(part) == part, parts[:-1])))
        found: dict[str, dict[str, Any]] = {}
        with suppress(FileNotFoundError), self._telling("readable", FileNotFoundError):
            self.files.invalidate_cache()  # others write there too
            found = self.files.find(start, detail=True)
        sizes = {path.removeprefix(self.root).lstrip("/"): about["size"] for path, about in sorted(found.items())}
        of_depth = {name: size for name, size in sizes.items() if name.count("/") == len(parts) - 1}
        return {name: size for name, size in of_depth.items() if all(map(re.fullmatch, parts, name.split("/")))}

    def remove(self, pattern: str) -> tuple[int, int]:
        """See `Objects`; many by one request where the file system can."""
        sizes = self.find(pattern)
        paths = [f"{self.root}/{name}" for name in sizes]
        with self._telling("writable"):
            try:
                if paths:
                    self.files.rm(paths)
            except FileNotFoundError:  # another process was first, with one of them at least
                for path in paths:
                    with suppress(FileNotFoundError):
                        self.files.rm_file(path)
        return len(sizes), sum(sizes.values())


def is_url(place: str) -> bool:
    """Whether a place is a URL such as `s3://bucket/prefix`, and no path."""
    return "://" in place


def objects_at(place: Path | str | None) -> Objects:
    """What is kept at a path or a URL; not looked at yet. None: nothing is.

    A `StoreError` if the URL is of no known kind, its package is not installed, or it cannot be set up.
    """
    if place is None:
        return Objects()
    url = str(place)
    if not is_url(url):
        return Folder(Path(place))
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    try:
        files, path = url_to_fs(url)
    except Exception as error:  # each file system has errors of its own
        what, cure = "the store must be a folder, or a URL that fsspec can open", ". Name another with --store"
        if isinstance(error, ImportError):
            what, cure = "the package for the store's file system must be installed", ""
        raise StoreError(f"{what}; got {_shown(url)} ({_said(error, url)}){cure}") from error
    return Folder(Path(path)) if isinstance(files, LocalFileSystem) else Remote(url, files, path)


def _shown(place: str) -> str:
    """A place; a URL without what may be secret: who one is, and its query."""
    return re.sub(r"(?<=://)[^/]*@", "***@", place.partition("?")[0]) if is_url(place) else place


def _said(error: Exception, place: str) -> str:
    """What a library says, as one line without the secrets of a URL, which some repeat."""
    said: str = getattr(error, "strerror", None) or first_line(error)
    users = re.findall(r"(?<=://)([^/]*)@", place)
    secrets = [*users, *(user.partition(":")[2] for user in users), place.partition("?")[2] if is_url(place) else ""]
    for secret in sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True):  # longest first
        said = said.replace(secret, "***")
    return said
