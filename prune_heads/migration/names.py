"""What the names of a Python module stand for, as far as its syntax tree tells."""

import ast
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeGuard

_OURS = "prune_heads"
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Names:
    """Imports and definitions of one module; scopes are not told apart."""

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        self._origins = dict(_imported(nodes))
        self._modules = {
            name for node in nodes if isinstance(node, ast.Import) for name, _ in _imported([node])
        }
        self._defined = set(_defined(nodes)) - set(_variables(nodes))

    def origin(self, node: ast.expr) -> str:
        """`transformers.pytorch_utils.f` for what the imports make of `f` or `pytorch_utils.f`; else empty."""
        if isinstance(node, ast.Name):
            return "" if node.id in self._defined else self._origins.get(node.id, "")
        if isinstance(node, ast.Attribute) and (origin := self.origin(node.value)):
            return f"{origin}.{node.attr}"
        return ""

    def is_own(self, function: ast.expr, inside: ast.ClassDef | None) -> bool:
        """Whether a call is of a definition of this file, or of prune-heads."""
        if isinstance(function, ast.Attribute) and is_self(function.value):
            return inside is not None and function.attr in _methods(inside)
        if isinstance(function, ast.Name) and function.id in self._defined:
            return True
        return self.origin(function).split(".")[0] == _OURS

    def is_method(self, function: ast.expr) -> TypeGuard[ast.Attribute]:
        """Whether it is `x.f`, and x is no imported module."""
        if not isinstance(function, ast.Attribute):
            return False
        return not (isinstance(function.value, ast.Name) and function.value.id in self._modules)


@lru_cache(maxsize=8)
def has_own(node: ast.ClassDef, attribute: str) -> bool:
    """Whether a class defines the attribute, or sets it on itself."""
    return any(
        (isinstance(each, ast.Attribute) and each.attr == attribute and _is_set_on_self(each))
        or (isinstance(each, _DEFINITIONS) and each.name == attribute)
        or (isinstance(each, ast.AnnAssign) and _is_name(each.target, attribute))
        for each in ast.walk(node)
    )


def is_self(node: ast.expr) -> bool:
    """`self` or `cls`."""
    return _is_name(node, "self") or _is_name(node, "cls")


def catches_imports(handler: ast.ExceptHandler) -> bool:
    """Whether a failed import ends there."""
    caught = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in caught for kind in kinds)


def _imported(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Each name that is bound by an import, and what it is; the later of two wins, as when the first fails."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (root, root)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, f"{module}.{alias.name}"


def _defined(nodes: list[ast.AST]) -> Iterator[str]:
    """Functions and classes, but for methods."""
    members = {id(each) for node in nodes if isinstance(node, ast.ClassDef) for each in node.body}
    for node in nodes:
        if isinstance(node, (*_DEFINITIONS, ast.ClassDef)) and id(node) not in members:
            yield node.name


def _variables(nodes: list[ast.AST]) -> Iterator[str]:
    """Names that may stand for anything: `model` is a fixture here and a parameter there."""
    for node in nodes:
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


@lru_cache(maxsize=8)  # asked of each call in a class
def _methods(node: ast.ClassDef) -> set[str]:
    """But for properties, which may give a model to call."""
    return {
        each.name
        for each in node.body
        if isinstance(each, _DEFINITIONS)
        and not any(ast.unparse(decorator).endswith("property") for decorator in each.decorator_list)
    }


def _is_set_on_self(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and is_self(node.value)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
