"""The uses that are looked for, what to write instead of each, and where a module has them.

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
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources

MASKS = ("head_mask", "decoder_head_mask", "cross_attn_head_mask")
"""Keyword arguments of `forward`."""
PRUNED = "pruned_heads"
"""Keyword argument, attribute and key of a configuration."""
METHODS = ("prune_heads", "_prune_heads", "get_head_mask")
"""Methods of a model."""
FUNCTIONS = ("find_pruneable_heads_and_indices", "prune_linear_layer", "prune_conv1d_layer", "prune_layer")
"""Functions of transformers 4, in `pytorch_utils`, earlier in `modeling_utils`, one of them in the root."""
STILL_THERE = frozenset({"transformers.pytorch_utils.prune_linear_layer"})
"""Those of them that transformers 5 has kept."""
NAMES = re.compile("|".join({*MASKS, PRUNED, *METHODS, *FUNCTIONS}).encode())
"""A file in whose bytes this finds nothing has no use, and need not be parsed."""


@cache
def cures() -> dict[str, dict[str, str]]:
    """How a use is shown -> its effect, what transformers 5 does, and what to write instead."""
    rows = tomllib.loads((resources.files("prune_heads.migration") / "cures.toml").read_text("utf-8"))["cure"]
    return {
        use: {"effect": effect, "instead": row["instead"]} for row in rows for use, effect in row["effects"].items()
    }


_CATCHING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


class Module:
    """What imports, definitions and classes make of the names of a module, where scopes are not told apart."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))  # outer ones first
        self.origins: dict[str, str] = {}  # the later of two imports wins, as when the first fails
        self.imported: set[str] = set()
        self.guarded: set[ast.AST] = set()  # imports whose failure is caught
        self.own: dict[ast.AST, set[str]] = {}  # of a node in a class: its methods, and `pruned_heads` if it sets that
        members, defined, variables = set[ast.AST](), set[str](), set[str]()
        for node in self.nodes:
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        name = alias.asname or alias.name.split(".")[0]
                        self.origins[name] = alias.name if alias.asname else name
                        self.imported.add(name)
                case ast.ImportFrom(names=names):
                    module = "." * node.level + (node.module or "")
                    self.origins |= {each.asname or each.name: f"{module}.{each.name}" for each in names}
                case ast.Try(body=body, handlers=handlers) if any(map(_catches_imports, handlers)):
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
        self.defined = defined - variables  # these may be anything: a fixture here, a parameter there

    def uses(self) -> list[tuple[int, str]]:
        """Line (from 1) and use, a key of `cures`, in order of lines; the same use once a line."""
        found, filled, splatted = list[tuple[int, str]](), list[tuple[str, int, str]](), set[str]()
        for node in self.nodes:
            match node:
                case ast.ImportFrom(level=0) if node not in self.guarded:
                    gone = [alias for alias in node.names if _is_gone(f"{node.module}.{alias.name}")]
                    found += [(alias.lineno, f"import {alias.name}") for alias in gone]
                case ast.Assign() | ast.AnnAssign():
                    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                        filled += _filled(target, node.value)
                case ast.Attribute(attr="pruned_heads", value=ast.Name(id="self" | "cls")) if PRUNED in self.own.get(
                    node, ()
                ):
                    pass
                case ast.Attribute(attr="pruned_heads"):
                    is_read = isinstance(node.ctx, ast.Load)
                    found.append((node.end_lineno or 0, f".{PRUNED}" if is_read else f".{PRUNED} = ..."))
                case ast.Call(func=function) if not self._is_own(node):
                    # The line is where the name stands, in a chain over several lines too.
                    line, origin, name = function.end_lineno or 0, self._origin(function), getattr(function, "attr", "")
                    if _is_gone(origin):
                        found.append((line, f"{origin.rpartition('.')[2]}()"))
                    elif name in METHODS and getattr(getattr(function, "value", None), "id", "") not in self.imported:
                        found.append((line, f".{name.removeprefix('_')}()"))
                    found += _passed(node)
                    splatted |= {k.value.id for k in node.keywords if not k.arg and isinstance(k.value, ast.Name)}
        return sorted({*found, *((line, use) for name, line, use in filled if name in splatted)})

    def _origin(self, node: ast.expr) -> str:
        """`transformers.pytorch_utils.f` for what the imports make of `f` or `pytorch_utils.f`; else empty."""
        names = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in self.defined or node.id not in self.origins:
            return ""
        return ".".join([self.origins[node.id], *reversed(names)])

    def _is_own(self, call: ast.Call) -> bool:
        """Whether a call is of a definition of this module, or of prune-heads."""
        match call.func:
            case ast.Attribute(attr=name, value=ast.Name(id="self" | "cls")):
                return name in self.own.get(call, ())
            case ast.Name(id=name) if name in self.defined:
                return True
        return self._origin(call.func).split(".")[0] == "prune_heads"


def _passed(call: ast.Call) -> Iterator[tuple[int, str]]:
    is_generate = isinstance(call.func, ast.Attribute) and call.func.attr == "generate"
    for keyword in call.keywords:
        for line, name in [(keyword.lineno, keyword.arg)] if keyword.arg else _keys(keyword.value):
            if name in (*MASKS, PRUNED):
                yield line, f"generate({name}=)" if is_generate and name in MASKS else f"{name}="


def _filled(target: ast.expr, value: ast.expr | None) -> list[tuple[str, int, str]]:
    """Name, line and use of the keys that a dict gets: by `name = {...}` or `name[key] = ...`."""
    match target:
        case ast.Name(id=name):
            keys = list(_keys(value))
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=key)):
            keys = [(target.lineno, key)]
        case _:
            return []
    return [(name, line, f"{key}=") for line, key in keys if key in (*MASKS, PRUNED)]


def _keys(value: ast.expr | None) -> Iterator[tuple[int, object]]:
    """The written keys of a dict that is written out."""
    if isinstance(value, ast.Dict):
        yield from ((key.lineno, key.value) for key in value.keys if isinstance(key, ast.Constant))


def _own_names(node: ast.ClassDef, inside: list[ast.AST]) -> Iterator[str]:
    """Methods but for properties, which may give a model to call; `pruned_heads` if the class sets or defines it."""
    body = set(node.body)
    for each in inside:
        match each:
            case (
                ast.Attribute(attr="pruned_heads", value=ast.Name(id="self" | "cls"), ctx=ast.Store())
                | ast.AnnAssign(target=ast.Name(id="pruned_heads"))
            ):
                yield PRUNED
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                is_property = any(ast.unparse(word).endswith("property") for word in each.decorator_list)
                if name == PRUNED or (each in body and not is_property):
                    yield name


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    kinds = getattr(handler.type, "elts", [handler.type])
    return handler.type is None or any(getattr(kind, "id", "") in _CATCHING for kind in kinds)


def _is_gone(origin: str) -> bool:
    package, name = origin.split(".")[0], origin.rpartition(".")[2]
    return package == "transformers" and name in FUNCTIONS and origin not in STILL_THERE
