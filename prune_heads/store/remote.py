"""Objects on an object store, or any other file system of fsspec that takes an object in one piece."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import Any, TypeVar
from urllib.parse import unquote

from prune_heads.errors import StoreError, first_line
from prune_heads.store.objects import Objects

T = TypeVar("T")
_AT_ONCE = 16
"""Readings under way together; each takes tens of milliseconds, most of them waiting."""


def opened(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path there.

    Raises:
        StoreError: If it is of no known kind, its package is not installed, or it cannot be set up.
    """
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(url)
    except ImportError as error:
        raise StoreError(
            f"the package for the store's file system must be installed; got {_shown(url)} ({_said(error, url)})"
        ) from error
    except Exception as error:  # each file system has errors of its own
        raise StoreError(
            f"the store must be a folder, or a URL that fsspec can open; got {_shown(url)} ({_said(error, url)}). "
            "Name another with --store"
        ) from error
    return files, path


class Remote(Objects):
    """See `Objects`. Each is read or written by one request, which an object store serves whole or not at all."""

    CURE = "Check its address and your credentials for it, or name another with --store"

    def __init__(self, url: str, files: Any, root: str) -> None:
        super().__init__(url)
        self.files = files
        self.root = root.rstrip("/")

    def read(self, name: str, n_bytes: int | None = None) -> bytes:
        """See `Objects`."""
        span = {} if n_bytes is None else {"start": 0, "end": n_bytes}
        with self._telling("readable", FileNotFoundError):
            content: bytes = self.files.cat_file(self._path(name), **span)
        return content

    def write(self, name: str, content: bytes) -> None:
        """See `Objects`."""
        with self._telling("writable"):
            self.files.pipe_file(self._path(name), content)

    def find(self, pattern: str) -> dict[str, int]:
        """See `Objects`; by one listing of all below what of the pattern is literal."""
        parts = pattern.split("/")
        start = "/".join((self.root, *takewhile(lambda part: re.escape(part) == part, parts[:-1])))
        found: dict[str, dict[str, Any]] = {}
        with suppress(FileNotFoundError), self._telling("readable", FileNotFoundError):
            self.files.invalidate_cache()  # others write there too
            found = self.files.find(start, detail=True)
        sizes = {path.removeprefix(self.root).lstrip("/"): about["size"] for path, about in found.items()}
        return {name: sizes[name] for name in sorted(sizes) if _matches(name.split("/"), parts)}

    def remove(self, pattern: str) -> tuple[int, int]:
        """See `Objects`; many by one request where the file system can."""
        sizes = self.find(pattern)
        paths = [self._path(name) for name in sizes]
        with self._telling("writable"):
            try:
                if paths:
                    self.files.rm(paths)
            except FileNotFoundError:  # another process was first, with one of them at least
                for path in paths:
                    with suppress(FileNotFoundError):
                        self.files.rm_file(path)
        return len(sizes), sum(sizes.values())

    def each(self, function: Callable[[str], T], names: Iterable[str]) -> Iterator[T]:
        """See `Objects`."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            yield from pool.map(function, names)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextmanager
    def _telling(self, what: str, *passed: type[Exception]) -> Iterator[None]:
        try:
            yield
        except passed:
            raise
        except Exception as error:  # each file system has errors of its own
            raise self.refused(what, _shown(self.place), _said(error, self.place)) from error


def _matches(name: Sequence[str], pattern: Sequence[str]) -> bool:
    """Part by part."""
    return len(name) == len(pattern) and all(map(re.fullmatch, pattern, name))


def _shown(url: str) -> str:
    """A URL without what may be secret: who one is, and its query."""
    return re.sub(r"(?<=://)[^/]*@", "***@", url.partition("?")[0])


def _said(error: Exception, url: str) -> str:
    """What a library says, as one line without the secrets of a URL, which some repeat."""
    said = first_line(error)
    users = re.findall(r"(?<=://)([^/]*)@", url)
    secrets = [*users, *(user.partition(":")[2] for user in users), url.partition("?")[2]]
    longest_first = sorted({*secrets, *map(unquote, secrets)} - {""}, key=len, reverse=True)
    for secret in longest_first:
        said = said.replace(secret, "***")
    return said
