"""What a cell of a row may hold. Each function gives the value as it is kept, or raises `ValueError` with the fault."""

import math
import struct
from collections.abc import Mapping

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


def score(value: object) -> float:
    """A finite number, in single precision as the hub stores it: else the same file would give two fingerprints."""
    try:
        (found,) = struct.unpack("<f", struct.pack("<f", float(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"the score must be a finite number, got {brief(value)}")
    return float(found)
