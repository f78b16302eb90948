"""prune-heads: how important is each attention head? Score, gate, zero, remove, re-evaluate.

The names of `__init__.pyi` are the public API. They are imported when first used, since torch takes seconds to import
and the command line must answer at once.
"""

import re
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

_STUB = Path(__file__).with_suffix(".pyi").read_text()
_HOME = {name: module for module, name in re.findall(r"^from (\S+) import (\w+)", _STUB, re.MULTILINE)}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("prune-heads")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
