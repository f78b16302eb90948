"""Uses in a Python module, by its syntax tree.

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
import warnings
from collections.abc import Iterator, Sequence

from prune_heads.migration.names import Names, catches_imports, has_own, is_self
from prune_heads.migration.uses import FUNCTIONS, MASKS, METHODS, PRUNED, STILL_THERE

_THEIRS = "transformers"


def parse(source: str | bytes) -> ast.Module:
    """The tree; what Python has to say of odd escapes is for the author of the file.

    Raises:
        SyntaxError: If it is not Python 3.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (
            ValueError,
            RecursionError,
            MemoryError,
        ) as error:  # null bytes; too many brackets in brackets
            raise SyntaxError(str(error) or "nested too deeply") from error


def describe(error: SyntaxError) -> str:
    """In a line."""
    where = f"line {error.lineno}: " if error.lineno else ""
    return f"not Python 3: {where}{error.msg}"


def uses_in(tree: ast.Module) -> list[tuple[int, str]]:
    """Line (from 1) and use, a key of `USES`, in order of lines; the same use once a line.

    Raises:
        SyntaxError: If expressions are nested by the hundreds.
    """
    finder = _Finder(tree)
    try:
        finder.visit(tree)
    except RecursionError as error:
        raise SyntaxError("nested too deeply") from error
    filled = [(line, use) for name, line, use in finder.filled if name in finder.splatted]
    return sorted({*finder.found, *filled})


class _Finder(ast.NodeVisitor):
    def __init__(self, tree: ast.Module) -> None:
        self.names = Names(tree)
        self.classes: list[ast.ClassDef] = []
        self.guards = 0
        self.found: list[tuple[int, str]] = []
        self.splatted: set[str] = set()
        self.filled: list[tuple[str, int, str]] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.classes.append(node)
        self.generic_visit(node)
        self.classes.pop()

    def visit_Try(self, node: ast.Try) -> None:
        is_caught = any(map(catches_imports, node.handlers))
        self.guards += is_caught
        self._visit_all(node.body)
        self.guards -= is_caught
        self._visit_all([*node.handlers, *node.orelse, *node.finalbody])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if not node.level and not self.guards and _is_gone(f"{node.module}.{alias.name}"):
                self.found.append((alias.lineno, f"import {alias.name}"))

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._fill(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._fill(node.target, node.value)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr == PRUNED and not (
            is_self(node.value) and self.classes and has_own(self.classes[-1], PRUNED)
        ):
            is_read = isinstance(node.ctx, ast.Load)
            self.found.append((_line(node), f".{PRUNED}" if is_read else f".{PRUNED} = ..."))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if not self.names.is_own(node.func, self.classes[-1] if self.classes else None):
            self._called(node.func)
            self._passed(node)
        self.generic_visit(node)

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _called(self, function: ast.expr) -> None:
        origin = self.names.origin(function)
        if _is_gone(origin):
            self.found.append((_line(function), f"{origin.rpartition('.')[2]}()"))
        elif self.names.is_method(function) and function.attr in METHODS:
            self.found.append((_line(function), f".{function.attr.removeprefix('_')}()"))

    def _passed(self, node: ast.Call) -> None:
        is_generate = isinstance(node.func, ast.Attribute) and node.func.attr == "generate"
        for keyword in node.keywords:
            if keyword.arg is None and isinstance(keyword.value, ast.Name):
                self.splatted.add(keyword.value.id)
            for line, name in [(keyword.lineno, keyword.arg)] if keyword.arg else _keys(keyword.value):
                if name in MASKS and is_generate:
                    self.found.append((line, f"generate({name}=)"))
                elif name in (*MASKS, PRUNED):
                    self.found.append((line, f"{name}="))

    def _fill(self, target: ast.expr, value: ast.expr | None) -> None:
        """Keys that a dict gets: by `name = {...}` or `name[key] = ...`."""
        keys: list[tuple[int, object]] = []
        if isinstance(target, ast.Name) and value is not None:
            keys = list(_keys(value))
        elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
            keys, target = [(target.lineno, target.slice.value)], target.value
        if isinstance(target, ast.Name):
            self.filled += [(target.id, line, f"{key}=") for line, key in keys if key in (*MASKS, PRUNED)]


def _keys(value: ast.expr) -> Iterator[tuple[int, object]]:
    """The written keys of a dict that is written out."""
    if isinstance(value, ast.Dict):
        for key in value.keys:
            if isinstance(key, ast.Constant):
                yield key.lineno, key.value


def _is_gone(origin: str) -> bool:
    package, name = origin.split(".")[0], origin.rpartition(".")[2]
    return package == _THEIRS and name in FUNCTIONS and origin not in STILL_THERE


def _line(node: ast.expr) -> int:
    """Where an attribute's name stands, in a chain over several lines too."""
    return node.end_lineno or node.lineno
