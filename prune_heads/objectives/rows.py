"""Rows of data: a cell, rows as a source writes them (`Table`) or a model is asked about them (`Split`), and files.

Files of one's own are tables (CSV, TSV, JSON lines, Parquet) or plain text with one text a line. Nothing here trusts a
file: pyarrow's reader of JSON, for one, ends the process on lines that are nested deeply.
"""

import csv
import hashlib
import io
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_heads.errors import DataError, first_line
from prune_heads.files import SURROGATE, json_of, read_bytes, text_of
from prune_heads.visible import brief

if TYPE_CHECKING:
    import datasets


@dataclass
class Table:
    """Rows as a source writes them, in its order; `Task.load` checks them."""

    source: str  # for records and messages, such as `SST-2/dev.tsv`: never an absolute path
    names: Sequence[str] = ()  # of all columns that the source has
    rows: dict[str, Mapping[str, object]] = field(default_factory=dict)
    """Where the user finds a row, e.g. `SST-2/dev.tsv line 2` -> column -> cell, of those that are wanted at least."""
    left_out: list[str] | None = None  # what is wrong with the rows that are left out; None where none may be
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # names of classes that a column gives by number
    codes: Mapping[str, int] | None = None  # how it writes a label -> index in the task; None: as the task names it
    may_be_empty: bool = False  # whether empty texts are known and let through
    n_there: int | None = None  # rows that the source has, where more than these are known of

    def add_fields(self, place: str, fields: Sequence[str], wanted: Mapping[str, str], cure: str = "") -> None:
        """One more row, a text a column, of which those that are wanted are kept, by another name."""
        if len(fields) != len(self.names):
            must = f"{len(self.names)} fields must be there ({', '.join(self.names)})"
            return self.fault(f"{place}: {must}, got {len(fields)}{cure}")
        self.rows[place] = {wanted[name]: text for name, text in zip(self.names, fields, strict=True) if name in wanted}

    def fill(self, rows: Iterable[Mapping[str, object]], place: str) -> None:
        """All rows at once, counted from 1 after their `place`."""
        self.rows = {f"{place} {i}": row for i, row in enumerate(rows, 1)}

    def add_dataset(self, data: "datasets.Dataset", wanted: Sequence[str], place: str) -> None:
        """All rows of a data set as it stores them, so that images are not decoded; `place` as for `fill`."""
        self.names, self.classes = data.column_names, class_names(data.features)
        self.fill(data.select_columns([name for name in dict.fromkeys(wanted) if name in self.names]).to_list(), place)

    def change(self, column: str, form: Callable[[Any], object]) -> None:
        """Give the cells of a column another form, where a row has one."""
        self.rows |= {at: {**row, column: form(row[column])} for at, row in self.rows.items() if column in row}

    def labels(self, column: str) -> list[object]:
        """Of each row, by name; see `named`."""
        return [named(row.get(column), self.classes.get(column)) for row in self.rows.values()]

    def fault(self, said: str) -> None:
        """What is wrong with a row: `DataError`, unless it may be left out."""
        if self.left_out is None:
            raise DataError(said)
        self.left_out.append(said)

    def require(self, columns: Iterable[str], cure: str) -> None:
        """Each column must be there once, else `DataError` with the cure."""
        for name in (column for column in columns if self.names.count(column) != 1):
            there = ", ".join(self.names[:20]) or "none"
            raise DataError(f"{self.source}: the column {name} must be there once, got the columns {there}; {cure}")


def class_names(features: Any) -> dict[str, Sequence[str]]:
    """Names of the classes of each column of `datasets.Features` that has some, also in lists."""
    inner = {name: getattr(feature, "feature", feature) for name, feature in features.items()}
    return {name: feature.names for name, feature in inner.items() if getattr(feature, "names", None)}


@dataclass(frozen=True)
class Split:
    """The examples of one split, as a model can be asked about them."""

    name: str
    columns: Mapping[str, Sequence[Any]]
    """In file order: the objective's inputs by name, such as `text` and `text_pair`, as `Objective.input_of` gives
    them; and `label`, where there are labels: the index of the task's label, or what else `label_of` gives."""
    source: str  # for records: `SST-2/dev.tsv`, `nyu-mll/glue/sst2@<revision>`, `mini grammar`, or the file's name
    fingerprint: str  # see `fingerprint`
    n_available: int  # examples that the source has, of which these may be some
    left_out: tuple[str, ...] = ()  # what is wrong with each row of the source that is no example; see `load_task`
    groups: tuple[str, ...] = ()  # what examples that belong together share; empty: each is its own
    n_cut: int = 0  # examples that were longer than the model is given, once that is known

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @cached_property
    def dataset(self) -> "datasets.Dataset":
        """The columns as a data set in memory; no file is written."""
        import datasets  # takes a second

        return datasets.Dataset.from_dict(dict(self.columns))

    def at(self, places: Sequence[int]) -> "Split":
        """The examples at these places alone."""
        groups = tuple(self.groups[i] for i in places) if self.groups else ()
        return replace(self, groups=groups, columns={name: [c[i] for i in places] for name, c in self.columns.items()})


def fingerprint(labels: Sequence[str] | None, columns: Mapping[str, Sequence[Any]]) -> str:
    """SHA-256 over label names, texts and labels: the same for the same rows from whatever source.

    A cell that JSON does not hold, such as an image, has a `fingerprint`.
    """
    digest = hashlib.sha256(json.dumps(labels).encode())
    for row in zip(*columns.values(), strict=True):  # a JSON array ends unmistakably: no separator is needed
        digest.update(json.dumps(row, default=attrgetter("fingerprint")).encode())
    return digest.hexdigest()


def text(value: object, *, may_be_empty: bool = False) -> str:
    """A text; `ValueError` with the fault if it is none, as in the functions below."""
    if not isinstance(value, str):
        raise ValueError(f"the text must be text, got {brief(value)}")
    if not may_be_empty and not value.strip():
        raise ValueError("the text must not be empty")
    if SURROGATE.search(value):
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


def named(value: object, names: Sequence[str] | None) -> object:
    """A label as text, or each of a list: an integer is a place among the names, without them a name; others stay."""
    if isinstance(value, list):
        return [named(each, names) for each in value]
    if names is None:
        return str(value) if isinstance(value, int) else value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return value


Reader = Callable[[Path, Table, Sequence[str]], None]  # (file, table to fill, columns that are wanted)


def text_at(path: Path, name: str = "") -> str:
    """The content of a file in UTF-8; `DataError` where it is in another encoding, which calls it by the name."""
    return text_of(read_bytes(path, name or path.name, DataError), name or path.name, DataError)


def _read_csv(path: Path, table: Table, wanted: Sequence[str], delimiters: str = ",;\t") -> None:
    r"""Every field is text, so "007" is not 7 and "NA" not nothing; a `.csv` is separated by what its header is."""
    text, limit = text_at(path), csv.field_size_limit(2**31 - 1)  # 128 KiB by default, for the whole process
    try:
        headers = {mark: next(_records(path, text, mark), []) for mark in delimiters}
        mark = max(delimiters, key=lambda mark: (set(wanted) <= set(headers[mark]), len(headers[mark])))
        table.names, kept = headers[mark], dict(zip(wanted, wanted, strict=True))
        for number, fields in enumerate(islice(_records(path, text, mark), 1, None), 1):
            table.add_fields(f"{path.name} row {number}", fields, kept)
    finally:
        csv.field_size_limit(limit)


def _records(path: Path, text: str, delimiter: str) -> Iterator[list[str]]:
    """Lines that are not blank; a quotation mark that is out of place is refused, it would swallow rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)  # split at line ends alone
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        cure = 'a quotation mark within a field must be doubled, and the field stand in quotation marks: "a ""b"" c"'
        raise DataError(f"{path.name}: the file cannot be read: line {reader.line_num}: {error}; {cure}") from error


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
            table.rows[place] = each
        else:
            table.fault(f"{place}: it must be a JSON object, got {brief(each)}")
    table.names = list(dict.fromkeys(name for row in table.rows.values() for name in row))


def _read_parquet(path: Path, table: Table, wanted: Sequence[str]) -> None:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
        table.names = file.schema_arrow.names
        rows = file.read([name for name in wanted if table.names.count(name) == 1]).to_pylist()
        table.fill(rows, f"{path.name} row")
        if b"huggingface" in (file.schema_arrow.metadata or {}):
            from datasets import Features  # takes a second

            table.classes = class_names(Features.from_arrow_schema(file.schema_arrow))
    except Exception as error:  # of what kind depends on what is damaged
        raise DataError(f"{path.name}: the file cannot be read: {first_line(error)}") from error


def read_text(path: Path, table: Table, wanted: Sequence[str]) -> None:
    """A column `text` of the lines that are not blank, and `document`, which blank lines end.

    Split at line feeds alone, for texts may hold others. Without blank lines nothing is known of documents.
    """
    document = 0
    for number, line in enumerate(text_at(path).rstrip().split("\n"), start=1):
        document += not line.strip()
        if line.strip():
            table.rows[f"{path.name} line {number}"] = {"text": line.removesuffix("\r"), "document": document}
    table.names = ["text", "document"] if document else ["text"]


READERS: Mapping[str, Reader] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiters="\t"),
    ".jsonl": read_json,
    ".json": read_json,
    ".parquet": _read_parquet,
}
"""Ending of a table -> how it is read; `Objective.readers` has more."""
