"""Which lines of older scripts rely on the masks and the pruning that transformers 5 no longer has.

Files are read by syntax tree; nothing of them is run or imported. Standard library only.
"""

import ast
import mmap
import os
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prune_heads.errors import DataError
from prune_heads.migration.uses import NAMES, PRUNED, Module, cures
from prune_heads.reading import json_of, read_bytes, text_of, toml_of

_KINDS = {".py": "Python 3", ".ipynb": "a notebook", ".json": "JSON", ".toml": "TOML"}
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

_Found = tuple[list[tuple[int | None, int, str]], list[tuple[int | None, str]]]
"""Uses as (cell, line, use), and (cell, reason) of what cannot be parsed."""


def examine(paths: Sequence[Path]) -> dict[str, Any]:
    """Read scripts (`*.py`, `*.ipynb`) and configurations (`*.json`, `*.toml`), and report each use in them.

    Of a folder, everything below it but hidden folders, virtual environments and caches. A file is parsed only if
    it mentions one of the names.

    Returns:
        What `prune-heads doctor` prints as JSON: findings, one a line and use (file, as the user named it; cell of a
        notebook, counting all of them from 1; line, from 1, within the cell; use; effect; instead); unreadable, files
        and cells that name a use and cannot be parsed (file, cell, reason); n_files that were looked into.

    Raises:
        DataError: If a path does not exist, or is a file of another kind.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"a path must be an existing file or folder; there is none at {path}")
        if path.is_file() and path.suffix not in _KINDS:
            raise DataError(f"a file must be one of {', '.join(_KINDS)}; got {path}. A folder may hold any files")
    files = dict[str, Path]()
    for file in (file for path in paths for file in _files(path)):
        files.setdefault(os.path.realpath(file), file)
    findings, unreadable = list[dict[str, Any]](), list[dict[str, Any]]()
    for file in files.values():
        uses, broken = list[tuple[int | None, int, str]](), list[tuple[int | None, str]]()
        try:
            uses, broken = _look_into(file)
        except (OSError, SyntaxError, ValueError) as error:
            broken = [(None, _reason(error, _KINDS[file.suffix]))]
        for cell, line, use in uses:
            findings.append({"file": str(file), "cell": cell, "line": line, "use": use, **cures()[use]})
        unreadable += [{"file": str(file), "cell": cell, "reason": reason} for cell, reason in broken]
    return {"findings": findings, "unreadable": unreadable, "n_files": len(files)}


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, folders, names in os.walk(path):
        if Path(folder) != path and not _ENVIRONMENT.isdisjoint({*names, *folders}):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        inside = (Path(folder, name) for name in sorted(names) if os.path.splitext(name)[1] in _KINDS)
        yield from (file for file in inside if file.is_file())


def _look_into(file: Path) -> _Found:
    """Raises OSError, SyntaxError or ValueError where nothing can be said of the file."""
    if not file.stat().st_size:
        return [], []
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        if NAMES.search(mapped) is None:  # however many bytes they are
            return [], []
    content = read_bytes(file, "what is looked into", OSError)
    if file.suffix == ".py":
        return [(None, *use) for use in Module(parse(content)).uses()], []
    text = text_of(content, file.name, ValueError)
    if file.suffix == ".ipynb":
        return _cells(json_of(text, "no JSON", ValueError))
    key, well_formed = (_JSON_KEY, json_of) if file.suffix == ".json" else (_TOML_KEY, toml_of)
    well_formed(text, "the value", ValueError)
    breaks = [each.start() for each in re.finditer("\n", text)]
    return [(None, bisect_left(breaks, each.end()) + 1, f'"{PRUNED}":') for each in key.finditer(text)], []


def _cells(notebook: Any) -> _Found:
    """All code cells are one module, since names that one imports are used in the next."""
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    except (KeyError, TypeError) as error:
        raise ValueError("format 4 must have cells with cell_type and source") from error
    lines, places, broken = list[str](), list[tuple[int, int]](), list[tuple[int | None, str]]()
    for number, (kind, source) in enumerate(cells, start=1):
        try:
            own = _python(source).split("\n") if kind == "code" else []
        except SyntaxError as error:
            own = []
            if NAMES.search(source.encode(errors="replace")):
                broken.append((number, _reason(error, "Python 3")))
        lines += own
        places += [(number, i) for i in range(1, len(own) + 1)]
    return [(*places[line - 1], use) for line, use in Module(parse("\n".join(lines))).uses()], broken


def _python(source: str) -> str:
    """The cell with as many lines, and without what IPython alone understands; SyntaxError if that is no Python."""
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


def parse(source: str | bytes) -> ast.Module:
    """The tree; SyntaxError if it is not Python 3. What Python says of odd escapes is for the author of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes; too many brackets in brackets
            raise SyntaxError(str(error) or "nested too deeply") from error


def _reason(error: OSError | SyntaxError | ValueError, kind: str) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
    return f"not {kind}: {line}{error.msg if isinstance(error, SyntaxError) else error}"
