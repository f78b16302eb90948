"""Splits from a local folder in the official GLUE layout: `train.tsv`, `dev.tsv`, unquoted."""

from collections.abc import Sequence
from pathlib import Path

from prune_heads.errors import DataError
from prune_heads.reading import read_bytes, text_of
from prune_heads.tasks.glue import GLUE, SPLIT_FILES, GlueFiles, label_codes
from prune_heads.tasks.rows import Rows, assemble
from prune_heads.tasks.spec import TaskSpec


def read_tsv(spec: TaskSpec, split: str, data_dir: Path) -> Rows:
    """Read one split of a GLUE task from its official file.

    Args:
        spec: A GLUE task.
        split: One of its splits.
        data_dir: The task's own folder, or the folder `glue` that holds it.

    Raises:
        DataError: The folder or the file is missing, or something in it is not as in the official file; the
            message gives the line, from 1, the header counted.
    """
    files = GLUE[spec.name]
    folder = _task_folder(files, data_dir)
    path = folder / SPLIT_FILES[split]
    name = f"{folder.resolve().name}/{path.name}"
    lines = _lines(path, name)
    header = files.header or tuple(lines[0].split("\t"))
    wanted = (*files.text_columns, files.label_column)
    missing = [column for column in wanted if column not in header]
    if missing:
        raise DataError(
            f"{name}: the column {missing[0]} must be there, got the columns {', '.join(header)}; "
            f"the file must be the official GLUE file of {files.folder}"
        )
    rows = _rows(lines, header, name, files)
    columns = [[fields[i] for _, fields in rows] for i in map(header.index, wanted)]
    return assemble(
        columns[:-1],
        columns[-1],
        spec=spec,
        codes=label_codes(spec),
        place=lambda i: f"{name} line {rows[i][0]}",
        source=name,
        may_be_empty=files.empty_texts,
    )


def _task_folder(files: GlueFiles, data_dir: Path) -> Path:
    """The folder that holds the task's files: `data_dir` itself, or the one inside it."""
    if not data_dir.is_dir():
        raise DataError(f"the data folder must be there, got {data_dir}, which is no folder")
    inner = data_dir / files.folder
    return inner if inner.is_dir() else data_dir


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


def _rows(lines: list[str], header: Sequence[str], name: str, files: GlueFiles) -> list[tuple[int, list[str]]]:
    """Each row's line number, from 1, and its fields."""
    first = 1 if files.header else 2
    rows: list[tuple[int, list[str]]] = []
    broken = 0
    for number, line in enumerate(lines[first - 1 :], first):
        fields = line.split("\t")
        if len(fields) == len(header):
            rows.append((number, fields))
            continue
        broken += 1
        if len(fields) > len(header) or broken > files.broken_lines:
            raise DataError(
                f"{name} line {number}: {len(header)} tab-separated fields must be there "
                f"({', '.join(header)}), got {len(fields)}; the file must be the official GLUE TSV, unquoted"
            )
    return rows
