"""Criteria of one's own: a function `(Examples) -> scores` of a module, a file or a notebook, as a row."""

import hashlib
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial, reduce
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from prune_heads.errors import CriterionError, PruneHeadsError, first_line
from prune_heads.files import read_bytes
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.criteria import CRITERIA, Criterion, Examples

_source = partial(read_bytes, what="a criterion's file", error=CriterionError)


def criterion_of(name: str) -> Criterion:
    """A row of `CRITERIA`, or one's own by `my_module:function` or `path/to/file.py:function`, which is imported.

    Raises:
        CriterionError: If there is none, it cannot be imported, or is no function.
    """
    if name in CRITERIA:
        return CRITERIA[name]
    where, _, attribute = name.rpartition(":")
    if not where:
        own = "one's own as my_module:function or file.py:function"
        raise CriterionError(f"the criterion must be one of {', '.join(CRITERIA)}, or {own}; got {name!r}")
    file = Path(where).expanduser() if where.endswith(".py") else None
    shown = f"{file.name if file else where}:{attribute}"
    folder = str(file.resolve().parent if file else Path.cwd())  # as for a script that is run
    sys.path.insert(0, folder)
    try:
        module = _of_file(str(file.resolve()), _source(file)) if file else import_module(where)
        if not hasattr(module, attribute.split(".")[0]):
            there = [key for key, value in vars(module).items() if inspect.isfunction(value)]
            raise CriterionError(f"the criterion {shown} must be there; got the functions {', '.join(there) or 'none'}")
        function: Any = reduce(getattr, attribute.split("."), module)
        origin = getattr(module, "__file__", None)
        return own_criterion(function, shown, _source(Path(origin)) if origin else None)
    except CriterionError:
        raise
    except (Exception, SystemExit) as error:
        must = f"the criterion {shown} must be importable; got {type(error).__name__}: {first_line(error)}"
        raise CriterionError(f"{must}. Name it my_module:function or path/to/file.py:function") from error
    finally:
        sys.path.remove(folder)


@cache
def _of_file(file: str, source: bytes) -> ModuleType:
    """The file as a module; one of the same content is imported once."""
    module = ModuleType(f"own_{hashlib.sha256(source).hexdigest()[:16]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # where its dataclasses look for their names
    exec(compile(source, file, "exec"), vars(module))
    return module


def own_criterion(function: Callable[[Examples], Any], name: str = "", source: bytes | None = None) -> Criterion:
    """A row for a function of one's own.

    Args:
        function: Gives `HeadScores`, or one number a head in the original numbering: flat, or one row a block. Heads
            that are gone score 0.
        name: As records name it; of a function by itself, its module and name.
        source: What it was made from, where that is known already.

    Raises:
        CriterionError: If it cannot be called; from its row, if it fails or gives no scores of the heads.
    """
    if not callable(function):
        kind = type(function).__name__
        raise CriterionError(f"a criterion must be a function of examples; {name or 'this one'} is of type {kind}")
    named = function if inspect.isroutine(function) else type(function)
    name = name or f"{named.__module__}:{named.__qualname__}"
    if source is None:
        with suppress(OSError, TypeError):  # typed into an interpreter
            source = inspect.getsource(named).encode()

    def score(examples: Examples) -> HeadScores:
        try:
            return _fitted(function(examples), examples.gone, name)
        except PruneHeadsError:
            raise
        except (Exception, SystemExit) as error:
            why = f"it failed with {type(error).__name__}: {first_line(error)}"
            raise CriterionError(f"the criterion {name} must give the scores of the heads; {why}") from error

    summary = (inspect.getdoc(function) or "a criterion of one's own").partition("\n")[0]
    known = hashlib.sha256(source).hexdigest() if source else None
    return Criterion(score, "examples", summary, name, known, draws=True, is_signed=None)


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
        must = f"the criterion {name} must give a score for each head, {sum(shape)} of them, {shape} a block"
        raise CriterionError(f"{must}; got {sum(found.n_heads)}")
    gone |= found.gone
    there = np.concatenate([*gone.keep(), np.zeros(0, dtype=bool)])
    errors = None if found.standard_error is None else np.concatenate(found.standard_error)[there]
    scores = HeadScores.of_the_rest(found.flat()[there], gone, errors)
    return scores.check_finite(f"the scores of the criterion {name}", error=CriterionError)
