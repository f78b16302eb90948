"""What a reproduction shows, and words that its parts share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from prune_heads.reporting.sheet import Sheet

Record = Mapping[str, Any]
Records = Mapping[str, Sequence[Record]]
"""Study -> its record for each subject, in the order of the subjects."""


@dataclass(frozen=True)
class Shown:
    """A table, and figures by the end of their file names."""

    sheet: Sheet
    figures: Mapping[str, Figure] = field(default_factory=dict)


def subject_of(record: Record) -> str:
    """Whose numbers they are: `minilm-mnli on mnli`."""
    return f"{record['model']['name']} on {record['task']}"


def precision_note(record: Record) -> tuple[str, ...]:
    """Said where it was not full precision."""
    dtype = record["configuration"]["dtype"]
    return () if dtype == "float32" else (f"Computed in {dtype}.",)
