"""Files of one's own as columns: CSV, JSON lines, Parquet, and plain text with one text a line."""

import codecs
import csv
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets

from prune_heads.errors import DataError

PLAIN_TEXT = ".txt"
"""The ending of files that hold texts and nothing else, one a line; their column is called `text`."""


def read_columns(path: Path, wanted: Sequence[str]) -> datasets.Dataset:
    """A file's rows, in file order; the columns that are wanted are there.

    Raises:
        DataError: The file is missing, empty or unreadable, or lacks a column.
    """
    if not path.is_file():
        raise DataError(f"the data file must be there, got {path}, which is no file")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name}: at least one example must be there, got none")
    try:
        with tempfile.TemporaryDirectory() as cache, _quiet():
            data = READERS[path.suffix](path, wanted, cache)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, csv.Error, Warning) as error:
        # Arrow counts rows from 0 and afresh in each block, so that its row number would mislead.
        reason = str(error.__cause__ or error).partition("\n")[0].partition(" in row ")[0]
        if "corresponds to no data" in reason:  # what datasets says of a file without rows
            raise DataError(f"{path.name}: at least one example must be there, got none") from None
        raise DataError(f"{path.name}: the file cannot be read: {reason}") from error
    _check_columns(data.column_names, wanted, path)
    return data


def _read_csv(path: Path, wanted: Sequence[str], cache: str) -> datasets.Dataset:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    _check_columns(header, wanted, path)
    # Every field is text: else "007" would become 7, and "NA" or "null" nothing at all. With index_col=False
    # pandas warns of rows longer than the header, instead of taking their first field for a row name.
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Length of header or names")
        return datasets.Dataset.from_csv(
            path.as_posix(),
            features=datasets.Features({name: datasets.Value("string") for name in header}),
            cache_dir=cache,
            keep_in_memory=True,
            na_filter=False,
            index_col=False,
            encoding="utf-8-sig",
        )


def _read_json(path: Path, wanted: Sequence[str], cache: str) -> datasets.Dataset:
    with path.open("rb") as file:
        start = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if start not in (b"{", b"["):  # a file that begins with null brings pyarrow's reader down
        raise ValueError(f"it must hold one JSON object a line, got {start.decode(errors='replace')!r} first")
    return datasets.Dataset.from_json(path.as_posix(), cache_dir=cache, keep_in_memory=True)


def _read_parquet(path: Path, wanted: Sequence[str], cache: str) -> datasets.Dataset:
    return datasets.Dataset.from_parquet(path.as_posix(), cache_dir=cache, keep_in_memory=True)


def _read_text(path: Path, wanted: Sequence[str], cache: str) -> datasets.Dataset:
    """Lines that are not blank, as they are; split at line feeds alone, for texts may hold other separators."""
    lines = path.read_bytes().decode("utf-8-sig").split("\n")
    texts = [line.removesuffix("\r") for line in lines if line.strip()]
    return datasets.Dataset.from_dict(
        {"text": texts}, features=datasets.Features({"text": datasets.Value("string")})
    )


# Dataset.from_csv and its kin are what load_dataset("csv") runs, less its call to a download counter.
READERS: Mapping[str, Callable[[Path, Sequence[str], str], datasets.Dataset]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
    PLAIN_TEXT: _read_text,
}
"""Ending of a file -> how it is read."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar and the log lines that datasets writes beside the error it raises."""
    log, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(log)
        if not bars:
            datasets.enable_progress_bars()


def _check_columns(there: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    missing = [name for name in wanted if there.count(name) != 1]
    if missing:
        raise DataError(
            f"{path.name}: the column {missing[0]} must be there once, "
            f"got the columns {', '.join(there) or 'none'}"
        )
