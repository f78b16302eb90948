"""TOML of which a sweep is made: texts, truth values and numbers that JSON holds, too."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prune_heads.errors import SpecError
from prune_heads.reading import LARGEST_TOML, read_bytes, text_of, toml_of

_MOST = 2**63
"""Whole numbers of TOML are below it in size."""
_LONG = re.compile(r"[0-9][0-9_]{4000,}")
"""More digits than Python turns into a number, of which its error does not say where they stand."""
_KEY = re.compile(r"^\s*([^\s=#\[\]]+)\s*=", re.MULTILINE)


def read_plain(file: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        SpecError: If it cannot be read, is not TOML, or holds a number of thousands of digits, whose key is named.
    """
    text = text_of(read_bytes(file, "a sweep", SpecError, LARGEST_TOML), f"a sweep: {file.name}", SpecError)
    if long := _LONG.search(text):
        keys = _KEY.findall(text[: long.start()])
        raise SpecError(f"{file.name}: {keys[-1] if keys else 'a number'}: must be below 2^63 in size")
    return toml_of(text, f"a sweep must be a TOML file; {file.name} is not", SpecError)


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
