"""Files and folders: which are read, and how each kind is."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from prune_heads.errors import DataError
from prune_heads.migration.notebooks import uses_in_notebook
from prune_heads.migration.report import Finding, Report, Unreadable
from prune_heads.migration.syntax import describe, parse, uses_in
from prune_heads.migration.uses import NAMES, PRUNED
from prune_heads.reading import json_of, read_bytes, text_of, toml_of

_CHUNK = 1 << 20
_LONGEST = 64
"""More than any of the names has bytes, so that none is lost between two chunks."""
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}
_ENVIRONMENT = {"pyvenv.cfg", "conda-meta"}
"""A folder with one of these is a virtual environment."""

_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:\s*)?')
_TOML_KEY = re.compile(
    rf"""^[ \t]*\[*(?:[\w."'-]+\.)?["']?{PRUNED}["']?[ \t]*  # a key, dotted or not, or the head of a table
    (?!=\s*(?:{{\s*}}|\[\s*\]))[=.\]]                        # but nothing empty""",
    re.M | re.X,
)


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
            raise DataError(
                f"a file must be one of {', '.join(_READERS)}; got {path}. A folder may hold any files"
            )
    seen = set()
    for file in (file for path in paths for file in _files(path)):
        if (real := os.path.realpath(file)) in seen:
            continue
        seen.add(real)
        report.n_files += 1
        try:
            if _mentions(file):
                _READERS[file.suffix](file, report)
        except OSError as error:
            report.unreadable.append(Unreadable(str(file), None, error.strerror or type(error).__name__))
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
    """Whether any of the names is in its bytes, in memory for a chunk."""
    tail = b""
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            if NAMES.search(tail + chunk):
                return True
            tail = chunk[-_LONGEST:]
    return False


def _content(file: Path) -> bytes:
    return read_bytes(file, "what is looked into", OSError)


def _read_python(file: Path, report: Report) -> None:
    try:
        tree = parse(_content(file))
        report.findings += [Finding(str(file), None, line, use) for line, use in uses_in(tree)]
    except SyntaxError as error:
        report.unreadable.append(Unreadable(str(file), None, describe(error)))


def _read_notebook(file: Path, report: Report) -> None:
    try:
        cells = uses_in_notebook(_content(file))
    except ValueError as error:
        report.unreadable.append(Unreadable(str(file), None, f"not a notebook: {error}"))
        return
    report.findings += [Finding(str(file), *use) for use in cells.uses]
    report.unreadable += [Unreadable(str(file), *cell) for cell in cells.broken]


def _read_json(file: Path, report: Report) -> None:
    try:
        text = text_of(_content(file), file.name, ValueError)
        json_of(text, "the value", ValueError)
    except ValueError as error:
        report.unreadable.append(Unreadable(str(file), None, f"not JSON: {error}"))
        return
    _add_keys(file, text, _json_keys(text), report)


def _json_keys(text: str) -> Iterator[int]:
    """Where the key stands in JSON that is known to be well-formed.

    An empty value is no use: transformers 2 and 3 wrote `"pruned_heads": {}` into every configuration.
    """
    decoder = json.JSONDecoder()
    for string in _JSON_STRING.finditer(text):
        is_key = string[1] is not None
        if is_key and string[0].startswith(f'"{PRUNED}"') and decoder.raw_decode(text, string.end())[0]:
            yield string.start()


def _read_toml(file: Path, report: Report) -> None:
    try:
        text = text_of(_content(file), file.name, ValueError)
        toml_of(text, "the table", ValueError)
    except ValueError as error:
        report.unreadable.append(Unreadable(str(file), None, f"not TOML: {error}"))
        return
    _add_keys(file, text, (match.end() for match in _TOML_KEY.finditer(text)), report)


def _add_keys(file: Path, text: str, starts: Iterator[int], report: Report) -> None:
    line, before = 1, 0
    for start in starts:
        line, before = line + text.count("\n", before, start), start
        report.findings.append(Finding(str(file), None, line, f'"{PRUNED}":'))


_READERS: Mapping[str, Callable[[Path, Report], None]] = {
    ".py": _read_python,
    ".ipynb": _read_notebook,
    ".json": _read_json,
    ".toml": _read_toml,
}
