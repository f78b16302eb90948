"""Which lines of older scripts rely on the masks and the pruning that transformers 5 no longer has.

Files are read by syntax tree; nothing of them is run or imported. Standard library only.
Seen: keyword arguments of calls, also by `**` with a dict that is written there or was filled under that name in the
same file; calls of methods; the attribute `pruned_heads`; imports from transformers, and calls of what they bind.

Not a use: a definition (a method, a function, a parameter); a call of what the same file defines, by its name or as
`self.x` inside its class; `self.pruned_heads` of a class that sets it; a function `prune_heads` of an imported
module; whatever comes from prune_heads; an import whose failure is caught. Calls of other functions with
`head_mask=` are reported, since the mask is probably passed on.

Not seen: a mask passed by position (transformers 5 takes it for another argument), names in strings (`getattr`),
methods that are not called at once, imports by `*`.
"""

import ast
import mmap
import os
import re
import tomllib
import warnings
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from prune_heads.errors import DataError
from prune_heads.files import json_of, read_bytes, text_of, toml_of

_TABLE = tomllib.loads((resources.files("prune_heads.migration") / "cures.toml").read_text("utf-8"))
_NAMES = ("masks", "methods", "functions", "still_there")
MASKS, METHODS, FUNCTIONS, STILL_THERE = (tuple(_TABLE["names"][name]) for name in _NAMES)
PRUNED = "pruned_heads"  # keyword argument, attribute and key of a configuration
_ARGUMENTS = (*MASKS, PRUNED)
NAMES = re.compile("|".join({*MASKS, PRUNED, *METHODS, *FUNCTIONS}).encode())  # a file without any is not parsed
_PATTERNS = {name: re.compile(text, re.X | re.M) for name, text in _TABLE["patterns"].items()}
_KINDS = {".py": "Python 3", ".ipynb": "a notebook", ".json": "JSON", ".toml": "TOML"}
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}
_ENVIRONMENT = {"pyvenv.cfg", "conda-meta"}  # a folder with one of these is a virtual environment

# Uses as (cell, line, use), and (cell, reason) of what cannot be parsed.
_Found = tuple[list[tuple[int | None, int, str]], list[tuple[int | None, str]]]


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
        name = str(file)
        try:
            uses, broken = _look_into(file)
        except (OSError, SyntaxError, ValueError) as error:
            uses, broken = [], [(None, _reason(error, _KINDS[file.suffix]))]
        findings += [{"file": name, "cell": cell, "line": at, "use": use, **cures()[use]} for cell, at, use in uses]
        unreadable += [{"file": name, "cell": cell, "reason": reason} for cell, reason in broken]
    return {"findings": findings, "unreadable": unreadable, "n_files": len(files)}


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, folders, names in os.walk(path):
        if Path(folder) != path and not _ENVIRONMENT.isdisjoint({*names, *folders}):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        yield from filter(Path.is_file, (Path(folder, name) for name in sorted(names) if Path(name).suffix in _KINDS))


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
    key, well_formed = (_PATTERNS["json_key"], json_of) if file.suffix == ".json" else (_PATTERNS["toml_key"], toml_of)
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
    if magic := _PATTERNS["cell_magic"].match(source):
        if not magic[1]:
            return ""
        source = source[: magic.start(1) - 2] + source[magic.end() :]
    try:
        parse(source)
    except SyntaxError:
        source = _PATTERNS["line_magic"].sub(lambda m: f"{m[1] or m[2] or ''}pass" + "\n" * m[0].count("\n"), source)
        parse(source)
    return source


def parse(source: str | bytes) -> ast.Module:
    """The tree; SyntaxError if it is not Python 3. What Python says of odd escapes is for the author of the file."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes; too many brackets in brackets
            raise SyntaxError(str(error) or "nested too deeply") from error


def _reason(error: OSError | SyntaxError | ValueError, kind: str) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
    return f"not {kind}: {line}{error.msg if isinstance(error, SyntaxError) else error}"


@cache
def cures() -> dict[str, dict[str, str]]:
    """How a use is shown -> its effect, what transformers 5 does, and what to write instead."""
    each = ((use, effect, row["instead"]) for row in _TABLE["cure"] for use, effect in row["effects"].items())
    return {use: {"effect": effect, "instead": instead} for use, effect, instead in each}


class Module:
    """What imports, definitions and classes make of the names of a module, where scopes are not told apart."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))  # outer ones first
        self.origins: dict[str, str] = {}  # the later of two imports wins, as when the first fails
        self.imported: set[str] = set()
        self.guarded: set[ast.AST] = set()  # imports whose failure is caught
        self.own: dict[ast.AST, set[str]] = {}  # of a node in a class: its methods, and `pruned_heads` if it sets that
        self.filled: list[tuple[str, int, object]] = []  # keys that a dict gets: its name, the line and the key
        members, defined, variables = set[ast.AST](), set[str](), set[str]()
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    modules = {each.asname or each.name.split(".")[0]: each for each in names}
                    self.imported |= modules.keys()
                    self.origins |= {name: each.name if each.asname else name for name, each in modules.items()}
                case ast.ImportFrom(names=names):
                    module = "." * node.level + (node.module or "")
                    self.origins |= {each.asname or each.name: f"{module}.{each.name}" for each in names}
                case ast.Try(body=body) if any(map(_PATTERNS["catching"].match, map(ast.unparse, node.handlers))):
                    self.guarded |= {each for part in body for each in ast.walk(part)}
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    if node not in members:
                        defined.add(node.name)
                    if isinstance(node, ast.ClassDef):
                        members |= set(node.body)
                        inside = list(ast.walk(node))
                        own = set(_own_names(node, inside))
                        self.own |= {each: own for each in inside}
                case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                    variables.add(name)
                case ast.Assign() | ast.AnnAssign():
                    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                        match target:
                            case ast.Name(id=name):
                                self.filled += [(name, *key) for key in _keys(node.value)]
                            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=key)):
                                self.filled.append((name, target.lineno, key))
        self.defined = defined - variables  # these may be anything: a fixture here, a parameter there

    def uses(self) -> list[tuple[int, str]]:
        """Line (from 1) and use, a key of `cures`, in order of lines; the same use once a line."""
        found, splatted = list[tuple[int, str]](), set[str]()
        for node in self.nodes:
            match node:
                case ast.ImportFrom(level=0) if node not in self.guarded:
                    gone = [alias for alias in node.names if _is_gone(f"{node.module}.{alias.name}")]
                    found += [(alias.lineno, f"import {alias.name}") for alias in gone]
                case ast.Attribute(attr="pruned_heads") if not self._is_own(node, node):
                    is_read = isinstance(node.ctx, ast.Load)
                    found.append((node.end_lineno or 0, f".{PRUNED}" if is_read else f".{PRUNED} = ..."))
                case ast.Call(func=function) if not self._is_own(node, function):
                    # The line is where the name stands, in a chain over several lines too.
                    line, origin, name = function.end_lineno or 0, self._origin(function), getattr(function, "attr", "")
                    if _is_gone(origin):
                        found.append((line, f"{origin.rpartition('.')[2]}()"))
                    elif name in METHODS and getattr(getattr(function, "value", None), "id", "") not in self.imported:
                        found.append((line, f".{name.removeprefix('_')}()"))
                    found += _passed(node)
                    splatted |= {k.value.id for k in node.keywords if not k.arg and isinstance(k.value, ast.Name)}
        found += [(line, f"{key}=") for name, line, key in self.filled if name in splatted and key in _ARGUMENTS]
        return sorted({*found})

    def _origin(self, node: ast.expr) -> str:
        """`transformers.pytorch_utils.f` for what the imports make of `f` or `pytorch_utils.f`; else empty."""
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in self.defined or node.id not in self.origins:
            return ""
        return ".".join([self.origins[node.id], *reversed(names)])

    def _is_own(self, node: ast.expr, named: ast.expr) -> bool:
        """Whether what a node calls or reads is defined in this module, or comes from prune-heads."""
        match named:
            case ast.Attribute(attr=name, value=ast.Name(id="self" | "cls")):
                return name in self.own.get(node, ())
            case ast.Name(id=name) if name in self.defined:
                return True
        return self._origin(named).split(".")[0] == "prune_heads"


def _passed(call: ast.Call) -> Iterator[tuple[int, str]]:
    is_generate = isinstance(call.func, ast.Attribute) and call.func.attr == "generate"
    for keyword in call.keywords:
        for line, name in [(keyword.lineno, keyword.arg)] if keyword.arg else _keys(keyword.value):
            if name in _ARGUMENTS:
                yield line, f"generate({name}=)" if is_generate and name in MASKS else f"{name}="


def _keys(value: ast.expr | None) -> list[tuple[int, object]]:
    """The written keys of a dict that is written out."""
    return [(key.lineno, key.value) for key in getattr(value, "keys", ()) if isinstance(key, ast.Constant)]


def _own_names(node: ast.ClassDef, inside: list[ast.AST]) -> Iterator[str]:
    """Methods but for properties, which may give a model to call; `pruned_heads` if the class sets or defines it."""
    for each in inside:
        match each:
            case ast.Attribute(attr="pruned_heads", value=ast.Name(id="self" | "cls"), ctx=ast.Store()):
                yield PRUNED
            case ast.AnnAssign(target=ast.Name(id="pruned_heads")):
                yield PRUNED
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                is_property = any(ast.unparse(word).endswith("property") for word in each.decorator_list)
                if name == PRUNED or (each in node.body and not is_property):
                    yield name


def _is_gone(origin: str) -> bool:
    return origin.startswith("transformers.") and origin.split(".")[-1] in FUNCTIONS and origin not in STILL_THERE
