"""A criterion of one's own: a function `(Examples) -> scores`, as a Python object or by name."""

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from prune_heads.errors import CriterionError, PruneHeadsError, first_line
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.criterion import Criterion
from prune_heads.importance.examples import Examples


def own_criterion(function: Callable[[Examples], Any]) -> Criterion:
    """A row for a function of one's own.

    Args:
        function: Gives `HeadScores`, or one number a head in the original numbering: flat, or one row a block. Numbers
            of heads that are gone count as 0.

    Raises:
        CriterionError: If it cannot be called. When it is called: if it fails, or its scores are as many as heads not,
            or not finite.
    """
    name = f"{getattr(function, '__module__', None)}:{getattr(function, '__qualname__', type(function).__name__)}"
    if not callable(function):
        raise CriterionError(f"a criterion must be a function of examples; got {type(function).__name__}")
    try:
        source = inspect.getsource(function if inspect.isroutine(function) else type(function))
    except (OSError, TypeError):  # typed into an interpreter
        source = ""
    return _row(function, name, source.encode())


def named_criterion(name: str) -> Criterion:
    """The row for `my_module:function` or `path/to/file.py:function`; it is imported.

    Raises:
        CriterionError: If there is no such file, module or function, or it cannot be imported or called.
    """
    where, _, attribute = name.rpartition(":")
    if where.endswith(".py"):
        file = Path(where).expanduser()
        shown = f"{file.name}:{attribute}"
        try:
            source = file.read_bytes()
        except OSError as error:
            raise CriterionError(
                f"a criterion must be in a file that can be read; got {where}: {error.strerror or error}"
            ) from error
        module = _imported(name, lambda: _of_file(file, source), file.resolve().parent)
    else:
        shown = name
        module = _imported(name, lambda: import_module(where), Path.cwd())
        origin = getattr(module, "__file__", None)
        source = Path(origin).read_bytes() if origin else b""
    function = module
    try:
        for part in attribute.split("."):
            function = getattr(function, part)
    except AttributeError as error:
        there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise CriterionError(
            f"the criterion {shown} must be there; {where} has no {attribute!r}, its functions are "
            f"{', '.join(there) or 'none'}"
        ) from error
    if not callable(function):
        raise CriterionError(f"the criterion {shown} must be a function; it is a {type(function).__name__}")
    return _row(function, shown, source)


def _row(function: Callable[[Examples], Any], name: str, source: bytes) -> Criterion:
    def score(examples: Examples) -> HeadScores:
        try:
            return _fitted(function(examples), examples.gone)
        except PruneHeadsError:
            raise
        except Exception as error:
            raise CriterionError(
                f"the criterion {name} must give the scores of the heads; it failed with {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error

    summary = (inspect.getdoc(function) or "a criterion of one's own").partition("\n")[0]
    return Criterion(score, "examples", summary, name, hashlib.sha256(source).hexdigest() if source else None)


def _fitted(found: Any, gone: HeadMask) -> HeadScores:
    """What a function gave as scores, heads that are gone at 0."""
    if not isinstance(found, HeadScores):
        values = found.detach().cpu().numpy() if isinstance(found, Tensor) else found
        rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in values]
        if [len(row) for row in rows] != list(gone.n_heads):
            rows = np.split(np.concatenate([*rows, np.zeros(0)]), np.cumsum(gone.n_heads)[:-1])
        found = HeadScores(tuple(rows))
    lengths = [len(row) for row in found.values]
    if lengths != list(gone.n_heads):
        raise ValueError(
            f"the model has {list(gone.n_heads)} heads a block, and there are scores for {lengths}"
        )
    there = np.concatenate([*gone.keep(), np.zeros(0, dtype=bool)])
    errors = None if found.standard_error is None else np.concatenate(found.standard_error)[there]
    scores = HeadScores.of_the_rest(found.flat()[there], gone | found.gone, errors)
    if bad := [head for head in ~gone if not np.isfinite(scores.values[head[0]][head[1]])]:
        raise ValueError(
            f"a score must be finite; that of head {HeadMask(gone.n_heads, frozenset(bad[:1]))} is not"
        )
    return scores


def _imported(name: str, load: Callable[[], ModuleType], folder: Path) -> ModuleType:
    try:
        with _importing_from(folder):
            return load()
    except (Exception, SystemExit) as error:
        raise CriterionError(
            f"the criterion {name} must be importable; got {type(error).__name__}: {first_line(error)}. Name it "
            "my_module:function or path/to/file.py:function"
        ) from error


def _of_file(file: Path, source: bytes) -> ModuleType:
    """The file as a module; one of the same content is imported once."""
    known = f"prune_heads_own_{hashlib.sha256(source).hexdigest()[:16]}"
    if known not in sys.modules:
        loader = SourceFileLoader(known, str(file))
        sys.modules[known] = module_from_spec(spec_from_loader(known, loader))  # type: ignore[arg-type]
        try:
            loader.exec_module(sys.modules[known])
        except BaseException:
            del sys.modules[known]
            raise
    return sys.modules[known]


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """As for a script that is run: its folder comes first."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
