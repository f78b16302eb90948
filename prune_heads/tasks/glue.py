"""GLUE from a local folder in the official layout: `train.tsv`, `dev.tsv`, unquoted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from prune_heads.errors import DataError
from prune_heads.objectives.rows import Table
from prune_heads.reading import read_bytes, text_of
from prune_heads.tasks.spec import TASKS, TaskSpec


@dataclass(frozen=True)
class GlueFiles:
    """How the official files of one task look."""

    folder: str
    text_columns: tuple[str, ...]
    """By header name; they differ from the hub's names."""
    label_column: str
    header: tuple[str, ...] | None = None
    """The columns of a file that has no header line; None where the file names them itself."""
    broken_lines: int = 0
    """Up to this many lines with too few fields are skipped, as in the hub's copy."""
    empty_texts: bool = False
    """Whether the official data have empty texts."""


GLUE: Mapping[str, GlueFiles] = MappingProxyType(
    {name: GlueFiles(**spec.official) for name, spec in TASKS.items() if spec.official}
)
"""Task name, which is also the hub's configuration -> its official files."""


def file_of(split: str) -> str:
    """The official file of a split, which the hub names: `dev.tsv` of `validation`."""
    return f"{split.replace('validation', 'dev')}.tsv"


def label_codes(spec: TaskSpec) -> dict[str, int]:
    """How the official files write each label -> its index in the hub's order."""
    return {str(i) if spec.digit_labels else label: i for i, label in enumerate(spec.labels or ())}


def read_tsv(spec: TaskSpec, split: str, data_dir: Path) -> Table:
    """Read one split of a GLUE task from its official file.

    Args:
        spec: A GLUE task.
        split: One of its splits.
        data_dir: The task's own folder, or the folder `glue` that holds it.

    Raises:
        DataError: The folder or the file is missing, or something in it is not as in the official file; the
            message gives the line, from 1, the header counted.
    """
    if not data_dir.is_dir():
        raise DataError(f"the data folder must be there, got {data_dir}, which is no folder")
    files = GLUE[spec.name]
    inner = data_dir / files.folder
    path = (inner if inner.is_dir() else data_dir) / file_of(split)
    name = f"{path.parent.resolve().name}/{path.name}"
    lines = _lines(path, name)
    official = f"the file must be the official GLUE file of {files.folder}, unquoted TSV"
    table = Table(name, files.header or lines[0].split("\t"), codes=label_codes(spec), may_be_empty=files.empty_texts)
    for column in (*files.text_columns, files.label_column):
        table.require(column, official)
    ours = dict(zip((*files.text_columns, files.label_column), (*spec.text_columns, spec.label_column), strict=True))
    broken = 0
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if len(fields) == len(table.names):
            row = {ours[column]: field for column, field in zip(table.names, fields, strict=True) if column in ours}
            table.add(f"{name} line {number}", row)
            continue
        broken += 1
        if len(fields) > len(table.names) or broken > files.broken_lines:
            raise DataError(
                f"{name} line {number}: {len(table.names)} tab-separated fields must be there "
                f"({', '.join(table.names)}), got {len(fields)}; {official}"
            )
    if files.header is None:
        del table.rows[0], table.places[0]
    return table


def _lines(path: Path, name: str) -> list[str]:
    if not path.exists():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.tsv"))) or "none"
        raise DataError(
            f"{name}: the file must be there, got a folder with these .tsv files: {there}; "
            "the data folder must be the task's own, or the one that holds it"
        )
    text = text_of(read_bytes(path, name, DataError), name, DataError)
    if not text.strip():
        raise DataError(f"{name}: at least one example must be there, got an empty file")
    # Not splitlines(): texts may hold other characters that it takes for line ends.
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
