"""TOML of which a sweep is made: texts, truth values and numbers that JSON holds, too."""

import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prune_heads.errors import SpecError

_MOST = 2**63
"""Whole numbers of TOML are below it in size."""
_LONG = re.compile(r"[0-9][0-9_]{4000,}")
"""More digits than Python turns into a number, of which its error does not say where they stand."""
_KEY = re.compile(r"^\s*([^\s=#\[\]]+)\s*=", re.MULTILINE)


def read_plain(file: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not TOML.
        SpecError: If a number has thousands of digits; names its key.
        RecursionError: If it is nested too deep.
    """
    text = file.read_text(encoding="utf-8")
    if long := _LONG.search(text):
        keys = _KEY.findall(text[: long.start()])
        raise SpecError(f"{file.name}: {keys[-1] if keys else 'a number'}: must be below 2^63 in size")
    return tomllib.loads(text)


def unfit(value: Any, where: str = "") -> Iterator[str]:
    """Values that no option takes and no record holds, by their keys: TOML has more than JSON."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from unfit(each, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from unfit(each, f"{where}[{i + 1}]" if isinstance(each, dict) else where)
    elif isinstance(value, int) and abs(value) >= _MOST:
        yield f"{where}: must be below 2^63 in size; got a longer number"
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{where}: must be a finite number; got {value}"
    elif not isinstance(value, str | int | float):
        yield f"{where}: must be a text, a number or a truth value; got a {type(value).__name__}"
