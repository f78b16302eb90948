"""A criterion of one's own: a function `(Examples) -> scores`, as a Python object or by name."""

import hashlib
import inspect
import sys
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from prune_heads.errors import CriterionError, PruneHeadsError, first_line
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.criterion import Criterion, Examples
from prune_heads.reading import read_bytes


def own_criterion(function: Callable[[Examples], Any], name: str = "", source: str = "") -> Criterion:
    """A row for a function of one's own.

    Args:
        function: Gives `HeadScores`, or one number a head in the original numbering: flat, or one row a block. Heads
            that are gone score 0.
        name: As records name it; of a function by itself, its module and name.
        source: Where it is known already: SHA-256 of what it was made from.

    Raises:
        CriterionError: If it cannot be called; from its row, if it fails or gives no scores of the heads.
    """
    if not callable(function):
        kind = type(function).__name__
        raise CriterionError(f"a criterion must be a function of examples; {name or 'this one'} is of type {kind}")
    named = function if inspect.isroutine(function) else type(function)
    name = name or f"{named.__module__}:{named.__qualname__}"
    if not source:
        try:
            source = _digest(inspect.getsource(named).encode())
        except (OSError, TypeError):  # typed into an interpreter
            source = ""

    def score(examples: Examples) -> HeadScores:
        try:
            return _fitted(function(examples), examples.gone, name)
        except PruneHeadsError:
            raise
        except Exception as error:
            raise CriterionError(
                f"the criterion {name} must give the scores of the heads; it failed with {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error

    summary = (inspect.getdoc(function) or "a criterion of one's own").partition("\n")[0]
    return Criterion(score, "examples", summary, name, source or None)


def named_criterion(name: str) -> Criterion:
    """The row for `my_module:function` or `path/to/file.py:function`, which is imported.

    Raises:
        CriterionError: If it cannot be imported, is not there, or is no function.
    """
    where, _, attribute = name.rpartition(":")
    file = Path(where).expanduser()
    is_file = where.endswith(".py")
    shown = f"{file.name if is_file else where}:{attribute}"
    folder = str(file.resolve().parent if is_file else Path.cwd())  # as for a script that is run
    sys.path.insert(0, folder)
    try:
        module = _of_file(file) if is_file else import_module(where)
        if not hasattr(module, attribute.split(".")[0]):
            there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            raise CriterionError(f"the criterion {shown} must be there; got the functions {', '.join(there) or 'none'}")
        function = reduce(getattr, attribute.split("."), module)
        origin = getattr(module, "__file__", None)
        return own_criterion(function, shown, _digest(_source(Path(origin))) if origin else "")  # type: ignore[arg-type]
    except CriterionError:
        raise
    except (Exception, SystemExit) as error:
        raise CriterionError(
            f"the criterion {shown} must be importable; got {type(error).__name__}: {first_line(error)}. Name it "
            "my_module:function or path/to/file.py:function"
        ) from error
    finally:
        sys.path.remove(folder)


def _of_file(file: Path) -> ModuleType:
    """The file as a module; one of the same content is imported once."""
    source = _source(file)
    module = ModuleType(f"own_{_digest(source)[:16]}")
    if module.__name__ not in sys.modules:
        module.__file__ = str(file.resolve())
        sys.modules[module.__name__] = module
        try:
            exec(compile(source, module.__file__, "exec"), vars(module))
        except BaseException:
            del sys.modules[module.__name__]
            raise
    return sys.modules[module.__name__]


def _source(file: Path) -> bytes:
    return read_bytes(file, "a criterion's file", CriterionError)


def _digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


def _fitted(found: Any, gone: HeadMask, name: str) -> HeadScores:
    """What a function gave as scores, heads that are gone at 0."""
    shape = list(gone.n_heads)
    if not isinstance(found, HeadScores):
        values = found.detach().cpu().numpy() if isinstance(found, Tensor) else found
        rows = [np.atleast_1d(np.asarray(row, dtype=np.float64)) for row in values]
        if [len(row) for row in rows] != shape and sum(map(len, rows)) == sum(shape):  # flat
            rows = np.split(np.concatenate(rows), np.cumsum(shape)[:-1])
        found = HeadScores(tuple(rows))
    if list(found.n_heads) != shape:
        raise CriterionError(
            f"the criterion {name} must give a score for each head, {sum(shape)} of them, {shape} a block; got "
            f"{sum(found.n_heads)}"
        )
    gone |= found.gone
    there = np.concatenate([*gone.keep(), np.zeros(0, dtype=bool)])
    errors = None if found.standard_error is None else np.concatenate(found.standard_error)[there]
    scores = HeadScores.of_the_rest(found.flat()[there], gone, errors)
    if bad := [head for head in ~gone if not np.isfinite(scores.values[head[0]][head[1]])]:
        first = HeadMask(gone.n_heads, frozenset(bad[:1]))
        raise CriterionError(f"the criterion {name} must give finite scores; that of head {first} is not")
    return scores
