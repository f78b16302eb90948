"""What a type's configuration can switch, found in its class and in the code that reads it.

A Boolean is turned; a word is any that the type's code compares with that field; a number that may be missing is left
out or given; a small one is doubled, a large one made small enough to matter to a short text; kinds of layers and of
rotary positions are those that transformers has.
"""

import ast
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from tiny_types import EVERYWHERE, SIZES, own_fields, tiny_config, worked_out
from transformers import PreTrainedConfig
from transformers.configuration_utils import ALLOWED_LAYER_TYPES
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

_NOT_TRIED = (
    *("drop", "token", "vocab", "initializer", "init_std", "eps", "use_cache", "output_", "tie_", "_loss", "index"),
    *("summary", "n_top", "channels", "image", "patch", "vision", "lang", "label", "temperature", "gelu", "swiglu"),
    *(
        "mlp_bias",
        "expert",
        "shared",
        "final_logit",
        "scale_emb",
        "scaling_factor",
        "_factor",
        "classifier_",
        "decoder_bias",
    ),
    "add_cross",  # refused for every type
)
"""Parts of names that have nothing to do with how a model attends."""
_ROPE_NEEDS: Mapping[str, Any] = {
    "rope_theta": 10000.0,
    "factor": 2.0,
    "original_max_position_embeddings": 4,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "short_factor": [1.0, 1.0, 2.0, 2.0],
    "long_factor": [1.0, 2.0, 3.0, 4.0],
}


def variants(model_type: str) -> Iterator[dict[str, Any]]:
    """Every field of the configuration, and of those inside, at another value: one field each."""
    seen: set[str] = set()
    for config in _with_inside(tiny_config(model_type)):
        base = inspect.signature(PreTrainedConfig.__init__).parameters
        own = {name for name, size in worked_out(own_fields(model_type), SIZES).items() if type(size) is int}
        sizes = {*EVERYWHERE, *own, *base, "self", "kwargs"}
        aliases = getattr(type(config), "attribute_map", {})
        compared = _compared(type(config).__module__)
        for name, parameter in inspect.signature(type(config).__init__).parameters.items():
            is_size = name in sizes or name in {aliases.get(size) for size in sizes}
            if is_size or name in seen or any(part in name for part in _NOT_TRIED):
                continue
            seen.add(name)
            value = getattr(config, name, None)
            for other in _others(name, value, str(parameter.annotation), compared, config):
                if other != value:
                    yield {name: other}
        for name, default in sorted(_asked(type(config).__module__)):
            if name not in seen and not hasattr(config, name) and not any(part in name for part in _NOT_TRIED):
                seen.add(name)
                yield {name: not default}


def _with_inside(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from _with_inside(value)


def _others(
    name: str, value: Any, annotation: str, compared: Mapping[str, set[Any]], config: PreTrainedConfig
) -> Iterator[Any]:
    words = sorted(compared.get(name, set()), key=str)
    if isinstance(value, bool) or "bool" in annotation:
        yield not value
    elif name in ("rope_parameters", "rope_scaling"):
        yield from _rotations(value)
    elif isinstance(value, list) and all(isinstance(x, str) for x in value):
        kinds = [x for x in ALLOWED_LAYER_TYPES if x in compared[""]] if name.endswith("_types") else words
        yield from ([kind] * len(value) for kind in kinds)
    elif isinstance(value, str) or words:
        yield from words
    elif isinstance(value, int):
        yield from ((2, 3) if value == 1 else (1, 2 * value or 2)) if value <= 64 else (4,)
        if "None" in annotation:
            yield None
    elif isinstance(value, float) and value > 1e-3:
        yield from (value / 2, 2 * value)
        if "None" in annotation:
            yield None
    elif value is None:
        yield from (4, 0.5)


def _rotations(value: Any) -> Iterator[Any]:
    value = value or {}
    inner = all(isinstance(x, dict) for x in value.values()) and value
    for kind in ROPE_INIT_FUNCTIONS:
        rope = {**_ROPE_NEEDS, "rope_type": kind}
        yield dict.fromkeys(value, rope) if inner else {**value, **rope}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    yield dict.fromkeys(value, rope) if inner else {**value, **rope}


@cache
def _compared(module_name: str) -> dict[str, set[Any]]:
    """Of the code beside a configuration: a name -> the words it is compared with; `""` -> all words."""
    found: dict[str, set[Any]] = {"": set()}
    for module in _beside(module_name):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            found[""].update(_words(node))
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                words = {word for side in sides for part in ast.walk(side) for word in _words(part)}
                for side in sides:
                    found.setdefault(_name(side), set()).update(words)
    return found


@cache
def _asked(module_name: str) -> frozenset[tuple[str, bool]]:
    """Switches that a configuration need not have: what the code asks by `getattr(config, name, True or False)`."""
    return frozenset(
        (str(node.args[1].value), node.args[2].value)
        for module in _beside(module_name)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr" and len(node.args) == 3
        if _name(node.args[0]) == "config" and isinstance(node.args[1], ast.Constant)
        if isinstance(node.args[2], ast.Constant) and isinstance(node.args[2].value, bool)
    )


def _beside(module_name: str) -> Iterator[ModuleType]:
    package = import_module(module_name.rpartition(".")[0])
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith(("modeling_", "configuration_")):
            yield import_module(f"{package.__name__}.{info.name}")


def _words(node: ast.AST) -> list[str]:
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _name(node: ast.AST) -> str:
    """`config.x`, `self.x`, `x`, `x[i]` and `getattr(config, "x")` are all `x`."""
    if isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        return str(node.args[1].value)
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return getattr(node, "attr", getattr(node, "id", ""))
