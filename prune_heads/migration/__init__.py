"""Which lines of older scripts rely on the masks and the pruning that transformers 5 no longer has.

Files are read by syntax tree; nothing of them is run or imported. Standard library only.
"""

import mmap
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prune_heads.errors import DataError
from prune_heads.migration.syntax import describe, parse, uses_in
from prune_heads.migration.uses import NAMES, PRUNED
from prune_heads.reading import json_of, read_bytes, text_of, toml_of

_SKIPPED = {"__pycache__", "node_modules", "site-packages"}
_ENVIRONMENT = {"pyvenv.cfg", "conda-meta"}
"""A folder with one of these is a virtual environment."""
_JSON_KEY = re.compile(
    rf"""(?<!\\)(?="{PRUNED}"                             # the quote begins a string
    \s*+:\s*+(?!\{{\s*\}}|\[\s*\]|null|false|0\b|""))  # with a value: transformers 2 and 3 wrote empty ones""",
    re.X,
)
_TOML_KEY = re.compile(
    rf"""^[ \t]*\[*(?:[\w."'-]+\.)?["']?{PRUNED}["']?[ \t]*  # a key, dotted or not, or the head of a table
    (?!=\s*(?:{{\s*}}|\[\s*\]))[=.\]]                        # but nothing empty""",
    re.M | re.X,
)

_LINE_MAGIC = re.compile(r"^([ \t]*+)(?:\w[\w, ]*+=[ \t]*+)?[%!?](?:\\\n|[^\n])*|^([ \t]*+)[^\n#]*\?[ \t]*$", re.M)
"""Possessive where it can be, so that the time grows with the length of a line, not with its square."""
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[^\n]*")
_PYTHON_MAGICS = {"time", "timeit", "capture", "prun"}


@dataclass(frozen=True)
class Finding:
    """One use, in one line."""

    file: str
    """As the user named it; relative stays relative."""
    cell: int | None
    """Of a notebook: which cell, counting all of them from 1."""
    line: int
    """From 1; in a notebook, within the cell."""
    use: str
    """A key of `USES`."""


@dataclass(frozen=True)
class Unreadable:
    """A file, or a cell of a notebook, that names a use and cannot be parsed."""

    file: str
    cell: int | None
    reason: str


@dataclass
class Report:
    """All of a run."""

    findings: list[Finding] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    n_files: int = 0
    """Files that were looked into."""


def examine(paths: Sequence[Path]) -> Report:
    """Read scripts (`*.py`, `*.ipynb`) and configurations (`*.json`, `*.toml`), and report each use in them.

    Of a folder, everything below it but hidden folders, virtual environments and caches. A file is parsed only if
    it mentions one of the names.

    Raises:
        DataError: If a path does not exist, or is a file of another kind.
    """
    report = Report()
    for path in paths:
        if not path.exists():
            raise DataError(f"a path must be an existing file or folder; there is none at {path}")
        if path.is_file() and path.suffix not in _READERS:
            raise DataError(f"a file must be one of {', '.join(_READERS)}; got {path}. A folder may hold any files")
    seen = set()
    for file in (file for path in paths for file in _files(path)):
        if (real := os.path.realpath(file)) in seen:
            continue
        seen.add(real)
        report.n_files += 1
        kind, reader = _READERS[file.suffix]
        try:
            if _mentions(file):
                reader(str(file), read_bytes(file, "what is looked into", OSError), report)
        except OSError as error:
            report.unreadable.append(Unreadable(str(file), None, error.strerror or type(error).__name__))
        except SyntaxError as error:
            report.unreadable.append(Unreadable(str(file), None, describe(error)))
        except ValueError as error:
            report.unreadable.append(Unreadable(str(file), None, f"not {kind}: {error}"))
    return report


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        if Path(folder) != path and not _ENVIRONMENT.isdisjoint({*names, *folders}):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        for name in sorted(names):
            if os.path.splitext(name)[1] in _READERS and (file := Path(folder, name)).is_file():
                yield file


def _mentions(file: Path) -> bool:
    """Whether any of the names is in its bytes, however many they are."""
    with file.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return NAMES.search(content) is not None


def _read_python(file: str, content: bytes, report: Report) -> None:
    report.findings += [Finding(file, None, line, use) for line, use in uses_in(parse(content))]


def _read_notebook(file: str, content: bytes, report: Report) -> None:
    uses, broken = _uses_in_notebook(content)
    report.findings += [Finding(file, *use) for use in uses]
    report.unreadable += [Unreadable(file, *cell) for cell in broken]


def _uses_in_notebook(content: bytes) -> tuple[list[tuple[int, int, str]], list[tuple[int, str]]]:
    """Uses as (cell, line, use), and cells that cannot be parsed with the reason; cells from 1, of all kinds.

    All code cells are one module, since names that one imports are used in the next.

    Raises:
        ValueError: If the file is no notebook.
    """
    notebook = json_of(text_of(content, "notebook", ValueError), "no JSON", ValueError)
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    except (KeyError, TypeError) as error:
        raise ValueError("format 4 must have cells with cell_type and source") from error
    lines: list[str] = []
    places: list[tuple[int, int]] = []
    broken = []
    for number, (kind, source) in enumerate(cells, start=1):
        if kind != "code":
            continue
        try:
            own = _python(source).split("\n")
        except SyntaxError as error:
            if NAMES.search(source.encode(errors="replace")):
                broken.append((number, describe(error)))
            continue
        lines += own
        places += [(number, i) for i in range(1, len(own) + 1)]
    return [(*places[line - 1], use) for line, use in uses_in(parse("\n".join(lines)))], broken


def _python(source: str) -> str:
    """The cell with as many lines, and without what IPython alone understands.

    Raises:
        SyntaxError: If that is not Python 3 either.
    """
    if magic := _CELL_MAGIC.match(source):
        if magic[1] not in _PYTHON_MAGICS:
            return ""
        source = source[: magic.start(1) - 2] + source[magic.end() :]
    try:
        parse(source)
    except SyntaxError:
        source = _LINE_MAGIC.sub(lambda m: f"{m[1] or m[2] or ''}pass" + "\n" * m[0].count("\n"), source)
        parse(source)
    return source


def _read_keys(parsed: Callable[..., Any], key: re.Pattern[str], file: str, content: bytes, report: Report) -> None:
    """The key in a configuration that is well-formed, where its value is not empty."""
    text = text_of(content, Path(file).name, ValueError)
    parsed(text, "the value", ValueError)
    line, before = 1, 0
    for match in key.finditer(text):
        line, before = line + text.count("\n", before, match.end()), match.end()
        report.findings.append(Finding(file, None, line, f'"{PRUNED}":'))


_READERS: Mapping[str, tuple[str, Callable[[str, bytes, Report], None]]] = {
    ".py": ("Python 3", _read_python),
    ".ipynb": ("a notebook", _read_notebook),
    ".json": ("JSON", partial(_read_keys, json_of, _JSON_KEY)),
    ".toml": ("TOML", partial(_read_keys, toml_of, _TOML_KEY)),
}
