"""Files of one's own as tables: CSV, TSV, JSON lines, Parquet, and plain text with one text a line.

Nothing here trusts a file: pyarrow's reader of JSON, for one, ends the process on lines that are nested deeply.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from prune_heads.errors import DataError, first_line
from prune_heads.objectives.rows import Table, class_names
from prune_heads.reading import json_of, read_bytes, text_of
from prune_heads.visible import brief

Reader = Callable[[Path, Table, Sequence[str]], None]  # (file, table to fill, columns that are wanted)


def read_file(
    path: Path, wanted: Mapping[str, str], more: Mapping[str, Reader], *, skip_invalid: bool = False
) -> Table:
    """The rows of a file, in its order, or of a folder, which the reader of an empty ending reads.

    `wanted` says of each column which option names another, for messages.

    Raises:
        DataError: The file is missing, empty or unreadable, lacks a column, or has a row that is no row, unless
            these are to be left out.
    """
    is_folder = path.is_dir() and "" in more
    if not path.is_file() and not is_folder:
        raise DataError(f"the data file must be there, got {path}, which is no file")
    table = Table(path.name, left_out=[] if skip_invalid else None)
    if is_folder or path.stat().st_size:
        {**READERS, **more}["" if is_folder else path.suffix](path, table, list(wanted))
        for name, option in wanted.items():
            table.require(name, f"{option} names another")
    if not table.rows and not table.left_out:
        raise DataError(f"{path.name}: at least one example must be there, got none")
    return table


def text_at(path: Path, name: str = "") -> str:
    """The content of a file in UTF-8; `DataError` where it is in another encoding, which calls it by the name."""
    return text_of(read_bytes(path, name or path.name, DataError), name or path.name, DataError)


def _read_csv(path: Path, table: Table, wanted: Sequence[str], delimiters: str = ",;\t") -> None:
    r"""Every field is text: else "007" would become 7, and "NA" nothing at all.

    A `.csv` may be separated by semicolons or tabs: by what its header is separated.
    """
    text, limit = text_at(path), csv.field_size_limit(2**31 - 1)  # 128 KiB by default, for the whole process
    try:
        headers = {mark: next(_records(path, text, mark), []) for mark in delimiters}
        mark = max(delimiters, key=lambda mark: (set(wanted) <= set(headers[mark]), len(headers[mark])))
        table.names = names = headers[mark]
        for number, fields in enumerate(islice(_records(path, text, mark), 1, None), 1):
            place = f"{path.name} row {number}"
            if len(fields) == len(names):
                table.add(place, dict(zip(names, fields, strict=True)))
            else:
                table.fault(f"{place}: {len(names)} fields must be there ({', '.join(names)}), got {len(fields)}")
    finally:
        csv.field_size_limit(limit)


def _records(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """Lines that are not blank; a quotation mark that is out of place is refused, it would swallow rows."""
    lines = io.StringIO(text, newline="")  # split at line ends alone, as str.splitlines is not
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise DataError(
            f"{path.name}: the file cannot be read: line {reader.line_num}: {error}; a quotation mark within a field "
            'must be doubled, and the field stand in quotation marks: "a ""b"" c"'
        ) from error


def read_json(path: Path, table: Table, wanted: Sequence[str]) -> None:
    """An object a line, or one list of objects."""
    text = text_at(path)
    first, _, rest = text.strip().partition("\n")
    if first.startswith("[") and not (rest and first.rstrip().endswith("]")):  # else a line that is no object
        values = json_of(text, f"{path.name}: the file cannot be read", DataError)
        found = [(f"{path.name} row {i}", each) for i, each in enumerate(values, start=1)]
    else:
        found = []
        for number, line in enumerate(text.split("\n"), start=1):
            place = f"{path.name} line {number}"
            is_not = f"{place}: the file cannot be read, it must hold one JSON object a line"
            try:
                found += [(place, json_of(line, is_not, DataError))] if line.strip() else []
            except DataError as error:
                table.fault(str(error))
    for place, each in found:
        if isinstance(each, dict):
            table.add(place, each)
        else:
            table.fault(f"{place}: it must be a JSON object, got {brief(each)}")
    table.names = list(dict.fromkeys(name for row in table.rows for name in row))


def _read_parquet(path: Path, table: Table, wanted: Sequence[str]) -> None:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        table.names = file.schema_arrow.names
        table.rows = file.read([name for name in wanted if table.names.count(name) == 1]).to_pylist()
        if b"huggingface" in (file.schema_arrow.metadata or {}):
            from datasets import Features  # takes a second

            table.classes = class_names(Features.from_arrow_schema(file.schema_arrow))
    except Exception as error:  # of what kind depends on what is damaged
        raise DataError(f"{path.name}: the file cannot be read: {first_line(error)}") from error
    table.places = [f"{path.name} row {i}" for i in range(1, len(table.rows) + 1)]


def read_text(path: Path, table: Table, wanted: Sequence[str]) -> None:
    """A column `text` of the lines that are not blank; split at line feeds alone, for texts may hold others."""
    table.names = ["text"]
    for number, line in enumerate(text_at(path).split("\n"), start=1):
        if line.strip():
            table.add(f"{path.name} line {number}", {"text": line.removesuffix("\r")})


READERS: Mapping[str, Reader] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiters="\t"),
    ".jsonl": read_json,
    ".json": read_json,
    ".parquet": _read_parquet,
}
"""Ending of a table -> how it is read; `Objective.readers` has more."""
