"""What a cell of a row may hold. Each function gives the value as it is kept, or raises `ValueError` with the fault."""

import math
import struct
from collections.abc import Mapping, Sequence
from numbers import Integral

from prune_heads.reading import is_encodable
from prune_heads.visible import brief


def text(value: object, *, may_be_empty: bool = False) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ValueError(f"the text must be text, got {brief(value)}")
    if not may_be_empty and not value.strip():
        raise ValueError("the text must not be empty")
    if not is_encodable(value):
        raise ValueError(f"the text must be valid Unicode, got half a surrogate pair in {brief(value)}")
    return value


def index(value: object, codes: Mapping[str, int]) -> int:
    """The index of a label, by how the source writes it."""
    if not isinstance(value, str) or value not in codes:
        raise ValueError(f"the label must be one of {', '.join(codes)}, got {brief(value)}")
    return codes[value]


def by_name(value: object, names: Sequence[str]) -> object:
    """A label by its name, or a list of them; whole numbers are places among the names, from 0."""
    if isinstance(value, list):
        return [by_name(each, names) for each in value]
    is_index = isinstance(value, Integral) and not isinstance(value, bool)
    name = names[int(value)] if is_index and 0 <= value < len(names) else value  # type: ignore[call-overload, operator]
    if name not in names:
        raise ValueError(f"the label must be one of {', '.join(names)}, or its index from 0; got {value!r}")
    return name


def score(value: object) -> float:
    """A finite number, in single precision as the hub stores it: else the same file would give two fingerprints."""
    try:
        (found,) = struct.unpack("<f", struct.pack("<f", float(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"the score must be a finite number, got {brief(value)}")
    return float(found)
