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
from collections.abc import Iterator

from prune_heads.migration.uses import FUNCTIONS, MASKS, METHODS, PRUNED, STILL_THERE

_THEIRS, _OURS = "transformers", "prune_heads"
_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
_CATCHING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def parse(source: str | bytes) -> ast.Module:
    """The tree; what Python has to say of odd escapes is for the author of the file.

    Raises:
        SyntaxError: If it is not Python 3.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes; too many brackets in brackets
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
    """What is found; and what imports and definitions make of names, where scopes are not told apart."""

    def __init__(self, tree: ast.Module) -> None:
        self.classes: list[tuple[set[str], bool]] = []
        """Of each class around a node: its methods, and whether it defines `pruned_heads` or sets it on itself."""
        self.guards = 0
        self.found: list[tuple[int, str]] = []
        self.splatted: set[str] = set()
        self.filled: list[tuple[str, int, str]] = []
        self.origins: dict[str, str] = {}  # the later of two imports wins, as when the first fails
        self.modules: set[str] = set()
        nodes = list(ast.walk(tree))
        members = {id(each) for node in nodes if isinstance(node, ast.ClassDef) for each in node.body}
        defined, variables = set(), set()  # these may be anything: a fixture here, a parameter there
        for node in nodes:
            match node:
                case ast.Import():
                    for alias in node.names:
                        name = alias.asname or alias.name.split(".")[0]
                        self.origins[name] = alias.name if alias.asname else name
                        self.modules.add(name)
                case ast.ImportFrom():
                    module = "." * node.level + (node.module or "")
                    for alias in node.names:
                        self.origins[alias.asname or alias.name] = f"{module}.{alias.name}"
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if id(node) not in members:
                    defined.add(node.name)
                case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                    variables.add(name)
        self.defined = defined - variables

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        functions = [each for each in node.body if isinstance(each, _FUNCTION)]
        methods = {each.name for each in functions if not any(map(_is_property, each.decorator_list))}
        self.classes.append((methods, any(map(_sets_pruned, ast.walk(node)))))
        self.generic_visit(node)
        self.classes.pop()

    def visit_Try(self, node: ast.Try) -> None:
        is_caught = any(map(_catches_imports, node.handlers))
        self.guards += is_caught
        for each in node.body:
            self.visit(each)
        self.guards -= is_caught
        for other in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(other)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if not node.level and not self.guards and _is_gone(f"{node.module}.{alias.name}"):
                self.found.append((alias.lineno, f"import {alias.name}"))

    def visit_Assign(self, node: ast.Assign | ast.AnnAssign) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._fill(target, node.value)
        self.generic_visit(node)

    visit_AnnAssign = visit_Assign

    def visit_Attribute(self, node: ast.Attribute) -> None:
        is_own = _is_self(node.value) and bool(self.classes) and self.classes[-1][1]
        if node.attr == PRUNED and not is_own:
            is_read = isinstance(node.ctx, ast.Load)
            self.found.append((_line(node), f".{PRUNED}" if is_read else f".{PRUNED} = ..."))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if not self._is_own(node.func):
            self._called(node.func)
            self._passed(node)
        self.generic_visit(node)

    def _origin(self, node: ast.expr) -> str:
        """`transformers.pytorch_utils.f` for what the imports make of `f` or `pytorch_utils.f`; else empty."""
        if isinstance(node, ast.Name):
            return "" if node.id in self.defined else self.origins.get(node.id, "")
        if isinstance(node, ast.Attribute) and (origin := self._origin(node.value)):
            return f"{origin}.{node.attr}"
        return ""

    def _is_own(self, function: ast.expr) -> bool:
        """Whether a call is of a definition of this file, or of prune-heads."""
        if isinstance(function, ast.Attribute) and _is_self(function.value):
            return bool(self.classes) and function.attr in self.classes[-1][0]
        is_defined = isinstance(function, ast.Name) and function.id in self.defined
        return is_defined or self._origin(function).split(".")[0] == _OURS

    def _called(self, function: ast.expr) -> None:
        origin = self._origin(function)
        if _is_gone(origin):
            self.found.append((_line(function), f"{origin.rpartition('.')[2]}()"))
        elif isinstance(function, ast.Attribute) and function.attr in METHODS and not self._is_module(function.value):
            self.found.append((_line(function), f".{function.attr.removeprefix('_')}()"))

    def _is_module(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.modules

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


def _sets_pruned(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == PRUNED and isinstance(node.ctx, ast.Store) and _is_self(node.value)
    if isinstance(node, ast.AnnAssign):
        return getattr(node.target, "id", None) == PRUNED
    return isinstance(node, _FUNCTION) and node.name == PRUNED


def _is_property(decorator: ast.expr) -> bool:
    """Which may give a model to call."""
    return ast.unparse(decorator).endswith("property")


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    kinds = getattr(handler.type, "elts", [handler.type])
    return handler.type is None or any(getattr(kind, "id", "") in _CATCHING for kind in kinds)


def _line(node: ast.expr) -> int:
    """Where an attribute's name stands, in a chain over several lines too."""
    return node.end_lineno or node.lineno
