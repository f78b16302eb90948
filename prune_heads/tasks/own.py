"""One's own data: CSV, JSON lines or Parquet files with text columns and a label column."""

import codecs
import csv
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets

from prune_heads.errors import DataError, TaskError
from prune_heads.tasks.rows import Place, Rows, assemble
from prune_heads.tasks.spec import METRIC_NAMES, REGRESSION_METRICS, TASKS, TaskSpec


@dataclass(frozen=True)
class OwnData:
    """Files of one's own and how to read them; importance is scored on `train`, results are of the others."""

    files: Mapping[str, Path]
    """Split name -> file; the ending says the format. One may be missing until it is asked for."""
    text_columns: tuple[str, ...]
    """One, or two for pairs."""
    label_column: str
    metric: str
    """Key of `METRIC_NAMES`."""
    labels: tuple[str, ...] | None = None
    """Label names in the order of the task; for None, all that any of the files holds, sorted."""
    name: str = "own"

    def __post_init__(self) -> None:
        faults = own_faults(
            self.files, self.text_columns, self.label_column, self.metric, self.labels, self.name
        )
        if faults:
            raise TaskError(f"{self.name}: {'; '.join(faults)}")


def own_faults(
    files: Mapping[str, Path] | None,
    text_columns: Sequence[str] | None,
    label_column: str | None,
    metric: str | None,
    labels: Sequence[str] | None,
    name: str | None,
) -> list[str]:
    """All that is wrong with a description of one's own data; what is None is not looked at."""
    faults = []
    if files is not None:
        if not files:
            faults.append("at least one file must be named, e.g. for the split validation")
        for split, path in files.items():
            if path.suffix not in _READERS:
                faults.append(f"the {split} file must end with {', '.join(_READERS)}, got {path.name}")
    if text_columns is not None:
        if len(text_columns) not in (1, 2):
            faults.append(f"one or two text columns must be named, got {len(text_columns)}")
        columns = [*text_columns, *([] if label_column is None else [label_column])]
        if twice := _twice(columns):
            faults.append(f"text and label columns must differ, got {twice} twice")
    if metric is not None and metric not in METRIC_NAMES:
        faults.append(f"the metric must be one of {', '.join(METRIC_NAMES)}, got {metric!r}")
    if labels is not None:
        if metric in REGRESSION_METRICS:
            faults.append(f"labels must not be named for the metric {metric}, which is of scores")
        elif len(labels) < 2:
            faults.append(f"at least two labels must be named, got {len(labels)}")
        if metric == "f1" and len(labels) > 2:
            faults.append(f"the metric f1 is of the second of two labels, got {len(labels)} labels")
        if twice := _twice(labels):
            faults.append(f"labels must differ, got {twice} twice")
    if name in TASKS:
        faults.append(f"the name must not be that of a task that is built in, got {name}")
    return faults


def spec_of(own: OwnData) -> TaskSpec:
    """The task that one's own data are.

    Label names that are not given are collected from all the files, so that no split knows fewer labels than
    another and the order does not depend on which is read first: numbers by value, others by alphabet.

    Raises:
        DataError: A file cannot be read, or too few or too many labels are in the files.
    """
    labels = own.labels
    if labels is None and own.metric not in REGRESSION_METRICS:
        found = {label for path in own.files.values() for label in _read(own, path)[-1]}
        by_value = all(isinstance(label, str) and label.removeprefix("-").isdecimal() for label in found)
        labels = tuple(sorted(map(str, found), key=lambda label: (int(label) if by_value else 0, label)))
        if len(labels) < 2 or (own.metric == "f1" and len(labels) > 2):
            needed = "two labels" if own.metric == "f1" else "at least two labels"
            raise DataError(f"{own.name}: {needed} must be in the files, got {', '.join(labels[:10])}")
    eval_splits = tuple(split for split in own.files if split != "train") or ("validation",)
    summary = f"one's own: {', '.join(path.name for path in own.files.values())}"
    return TaskSpec(own.name, own.text_columns, labels, own.metric, eval_splits=eval_splits, summary=summary)


def read_own(own: OwnData, spec: TaskSpec, split: str) -> Rows:
    """Read one split of one's own data.

    Raises:
        DataError: The file is missing or unreadable, lacks a column, or a row is at fault; rows count from 1,
            a CSV's header and blank lines not counted.
    """
    path = own.files[split]
    *texts, labels = _read(own, path)
    codes = {label: i for i, label in enumerate(spec.labels or ())}
    return assemble(texts, labels, spec=spec, codes=codes, place=_place(path), source=path.name)


def _read(own: OwnData, path: Path) -> list[Sequence[object]]:
    """The text columns and the label column; labels of classes as text."""
    wanted = [*own.text_columns, own.label_column]
    if not path.is_file():
        raise DataError(f"the data file must be there, got {path}, which is no file")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name}: at least one example must be there, got none")
    try:
        with tempfile.TemporaryDirectory() as cache, _quiet():
            data = _READERS[path.suffix](path, wanted, cache)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, csv.Error, Warning) as error:
        # Arrow counts rows from 0 and afresh in each block, so that its row number would mislead.
        reason = str(error.__cause__ or error).partition("\n")[0].partition(" in row ")[0]
        if "corresponds to no data" in reason:  # what datasets says of a file without rows
            raise DataError(f"{path.name}: at least one example must be there, got none") from None
        raise DataError(f"{path.name}: the file cannot be read: {reason}") from error
    _check_columns(data.column_names, wanted, path)
    columns: list[Sequence[object]] = [data[name][:] for name in wanted]
    if own.metric not in REGRESSION_METRICS:
        feature = data.features[own.label_column]
        names = feature.names if isinstance(feature, datasets.ClassLabel) else None
        columns[-1] = [_label(value, names, i, _place(path)) for i, value in enumerate(columns[-1])]
    return columns


def _label(value: object, names: Sequence[str] | None, i: int, place: Place) -> str:
    """A label as text: `positive`, `1`, `True`."""
    if isinstance(value, int) and names is not None and 0 <= value < len(names):
        return names[value]
    if not isinstance(value, str | int) or value == "" or names is not None:
        raise DataError(f"{place(i)}: the label must be text, a whole number, true or false, got {value!r}")
    return str(value)


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


# Dataset.from_csv and its kin are what load_dataset("csv") runs, less its call to a download counter.
_READERS: Mapping[str, Callable[[Path, Sequence[str], str], datasets.Dataset]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}


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


def _place(path: Path) -> Place:
    return lambda i: f"{path.name} row {i + 1}"


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name, n in Counter(names).items() if n > 1), None)
