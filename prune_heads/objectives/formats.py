"""Files of one's own as columns: CSV, TSV, JSON lines, Parquet, and plain text with one text a line.

Nothing here trusts a file: pyarrow's reader of JSON, for one, ends the process on lines that are nested deeply.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prune_heads.errors import DataError, first_line
from prune_heads.reading import json_of, read_bytes, text_of, value_of
from prune_heads.visible import brief

PLAIN_TEXT = ".txt"
"""The ending of files that hold texts and nothing else, one a line; their column is called `text`."""

Wanted = Mapping[str, str]
"""Name of a column -> the option that names another."""


@dataclass
class Columns:
    """Rows of a file, in file order, as columns."""

    names: list[str]
    """Of all columns that the file has."""
    rows: list[Sequence[object]] = field(default_factory=list)
    """The wanted columns of each row."""
    places: list[str] = field(default_factory=list)
    """Where the user finds each row."""
    left_out: list[str] | None = None
    """What is wrong with the rows that are left out; None where none may be."""
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of the classes that a column gives by number."""

    def fault(self, said: str) -> None:
        """A row that is none.

        Raises:
            DataError: Unless it may be left out.
        """
        if self.left_out is None:
            raise DataError(said)
        self.left_out.append(said)

    def column(self, i: int) -> list[object]:
        """The values of the wanted column `i`."""
        return [row[i] for row in self.rows]


def read_columns(path: Path, wanted: Wanted, *, more: "Mapping[str, Reader]", skip_invalid: bool = False) -> Columns:
    """A file's rows, in file order; the columns that are wanted are there.

    Args:
        path: A file, or a folder where `more` reads one.
        wanted: The columns.
        more: Readers beside `READERS`.
        skip_invalid: Leave out rows that are at fault.

    Raises:
        DataError: The file is missing, empty or unreadable, lacks a column, or has a row that is no row, unless
            these are to be left out.
    """
    is_folder = path.is_dir() and "" in more
    if not path.is_file() and not is_folder:
        raise DataError(f"the data file must be there, got {path}, which is no file")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path.name}: at least one example must be there, got none")
    read = {**READERS, **more}["" if is_folder else path.suffix]
    found = read(path, wanted, [] if skip_invalid else None)
    if not found.rows and not found.left_out:
        raise DataError(f"{path.name}: at least one example must be there, got none")
    return found


def _text(path: Path) -> str:
    return text_of(read_bytes(path, path.name, DataError), path.name, DataError)


def _read_csv(path: Path, wanted: Wanted, left_out: list[str] | None, delimiters: str = ",;\t") -> Columns:
    r"""Every field is text: else "007" would become 7, and "NA" nothing at all.

    A `.csv` may be separated by semicolons or tabs: by what its header is separated.
    """
    text = _text(path)
    with _long_fields():
        headers = {mark: next(_records(path, text, mark), []) for mark in delimiters}
        mark = max(delimiters, key=lambda mark: (wanted.keys() <= set(headers[mark]), len(headers[mark])))
        found = Columns(checked(headers[mark], wanted, path), left_out=left_out)
        places = [found.names.index(name) for name in wanted]
        for number, fields in enumerate(_records(path, text, mark)):
            place = f"{path.name} row {number}"
            if number and len(fields) == len(found.names):
                found.rows.append([fields[i] for i in places])
                found.places.append(place)
            elif number:
                names = ", ".join(found.names)
                found.fault(f"{place}: {len(found.names)} fields must be there ({names}), got {len(fields)}")
    return found


def _read_tsv(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    return _read_csv(path, wanted, left_out, "\t")


def _records(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """Lines that are not blank; a quotation mark that is out of place is refused, it would swallow rows."""
    lines = io.StringIO(text, newline="")  # split at line ends alone, as str.splitlines is not
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from (fields for fields in reader if fields)
    except csv.Error as error:
        raise DataError(
            f"{path.name}: the file cannot be read: line {reader.line_num}: {error}; a quotation mark within a field "
            'must be doubled, and the field stand in quotation marks: "a ""b"" c"'
        ) from error


def _read_json(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    """An object a line, or one list of objects."""
    text = _text(path)
    found, names = Columns([], left_out=left_out), dict[str, None]()
    first, _, rest = text.strip().partition("\n")
    if first.startswith("[") and not (rest and first.rstrip().endswith("]")):  # else a line that is no object
        values = json_of(text, f"{path.name}: the file cannot be read", DataError)
        objects = [(f"{path.name} row {i}", each) for i, each in enumerate(values, start=1)]
    else:
        objects = list(_objects(path, text, found))
    for place, each in objects:
        if isinstance(each, dict):
            names |= dict.fromkeys(each)
            found.rows.append([each.get(name) for name in wanted])
            found.places.append(place)
        else:
            found.fault(f"{place}: it must be a JSON object, got {brief(each)}")
    found.names = checked(list(names), wanted, path)
    return found


def _objects(path: Path, text: str, found: Columns) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            place = f"{path.name} line {number}"
            try:
                yield (
                    place,
                    json_of(line, f"{place}: the file cannot be read, it must hold one JSON object a line", DataError),
                )
            except DataError as error:
                found.fault(str(error))


def _read_parquet(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        found = Columns(checked(file.schema_arrow.names, wanted, path), left_out=left_out)
        columns = file.read(list(wanted)).to_pydict()
        about = (file.schema_arrow.metadata or {}).get(b"huggingface")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path.name}: the file cannot be read: {first_line(error)}") from error
    found.rows = list(zip(*(columns[name] for name in wanted), strict=True))
    found.places = [f"{path.name} row {i}" for i in range(1, len(found.rows) + 1)]
    found.classes = {} if about is None else _classes(about, path)
    return found


def _classes(about: bytes, path: Path) -> dict[str, Sequence[str]]:
    """What `datasets` writes beside its columns."""
    is_not = f"{path.name}: what it says of its columns cannot be read"
    features: Any = value_of(text_of(about, path.name, DataError), is_not, DataError)
    for key in ("info", "features"):
        features = features.get(key) if isinstance(features, dict) else None
    each = features.items() if isinstance(features, dict) else ()
    inner = {name: _item(feature) for name, feature in each}
    return {name: feature["names"] for name, feature in inner.items() if _is_class(feature)}


def _item(feature: object) -> Any:
    """What a list is of, or the feature itself."""
    return feature.get("feature", feature) if isinstance(feature, dict) else feature


def _is_class(feature: object) -> bool:
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return False
    names = feature.get("names")
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def read_text(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    """Lines that are not blank, as they are; split at line feeds alone, for texts may hold other separators."""
    found = Columns(checked(["text"], wanted, path), left_out=left_out)
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            found.rows.append([line.removesuffix("\r")])
            found.places.append(f"{path.name} line {number}")
    return found


Reader = Callable[[Path, Wanted, list[str] | None], Columns]
"""(file, wanted columns, what is wrong with rows that may be left out, or None) -> the columns."""

READERS: Mapping[str, Reader] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
"""Ending of a table -> how it is read; `Objective.readers` has more."""


@contextmanager
def _long_fields() -> Iterator[None]:
    """Python's limit of 128 KiB a field is for the whole process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def encoded(data: Any) -> Any:
    """A `datasets.Dataset` that gives images and the like as they are stored, not decoded."""
    for name, feature in data.features.items():
        if getattr(feature, "decode", False):
            data = data.cast_column(name, replace(feature, decode=False))
    return data


def checked(there: Sequence[str], wanted: Wanted, path: Path) -> list[str]:
    """The columns that a file has.

    Raises:
        DataError: Unless each that is wanted is there once.
    """
    for name, option in wanted.items():
        if there.count(name) != 1:
            raise DataError(
                f"{path.name}: the column {name} must be there once, got the columns "
                f"{', '.join(there[:20]) or 'none'}; {option} names another"
            )
    return list(there)
