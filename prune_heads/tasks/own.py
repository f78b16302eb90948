"""One's own data: files with text columns and, unless a language model is to read them, a label column.

They are described by options, or by a small TOML file; `guide/data.md` shows one. With `task = "lm"` or another kind
that `--task` names, what is left out is as that kind has it.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_heads.errors import DataError, TaskError
from prune_heads.files import read_toml as toml_file
from prune_heads.objectives import METRIC_NAMES, TASKS, Row, TaskSpec, rows_for
from prune_heads.objectives.rows import READERS, Table
from prune_heads.visible import brief

_LONG = 19  # digits of labels that are sorted by alphabet: no number of 64 bits has so many


@dataclass(frozen=True)
class OwnData:
    """Files of one's own and how to read them; importance is scored on `train`, results are of the others.

    What is empty is as the `Row` of the kind has it.
    """

    files: Mapping[str, Path]  # split -> file, whose ending says the format; one may be missing until it is asked for
    text_columns: tuple[str, ...] = ()  # what the model is given; see `Row.columns`
    label_column: str = ""  # empty in the end where there are no labels
    metric: str = ""  # key of `Row.metrics`
    labels: tuple[str, ...] | None = None  # in the order of the task; None: all that any of the files holds, sorted
    name: str = ""
    kind: str = "labelled"
    cluster_column: str = ""  # examples that share it are resampled together; see `Row.clustered` where it is empty
    skip_invalid: bool = False  # whether rows that are at fault are left out and counted, instead of refused

    def __post_init__(self) -> None:
        row = rows_for(self.kind)[0]
        for name, value in (
            ("text_columns", tuple(self.text_columns) or row.columns),
            ("label_column", (self.label_column or row.label) if row.label else ""),
            ("metric", self.metric or next(iter(row.metrics))),
            ("name", self.name or ("own" if self.kind == "labelled" else self.kind)),
        ):
            object.__setattr__(self, name, value)
        if faults := list(_faults(self)):
            raise TaskError("; ".join(faults))

    @property
    def row(self) -> Row:
        """What its files hold."""
        return rows_for(self.kind, self.metric)[0]


def _faults(own: OwnData) -> Iterator[str]:
    rows = rows_for(own.kind)
    endings = dict.fromkeys([*READERS, *rows[0].load().readers])
    if not own.files:
        yield "at least one file must be named, e.g. for the split validation"
    for split, path in own.files.items():
        if path.suffix not in endings and not (path.is_dir() and "" in endings):
            shown = ", ".join(ending or "nothing (a folder)" for ending in endings)
            yield f"the {split} file must end with {shown}, got {path.name}"
    allowed, labels = rows[0].n_columns, own.labels
    if len(own.text_columns) not in allowed:
        yield f"text columns must be {' or '.join(map(str, allowed))} in number, got {len(own.text_columns)}"
    for what, names in (("text and label columns", (*own.text_columns, own.label_column)), ("labels", labels or ())):
        if twice := [name for name, n in Counter(names).items() if n > 1]:
            yield f"{what} must differ, got {twice[0]} twice"
    metrics = [each for row in rows for each in row.metrics]
    if own.metric not in metrics:
        yield f"the metric must be one of {', '.join(metrics)}, got {own.metric!r}"
    if labels is not None and own.metric in metrics and not own.row.classes:
        yield f"labels must not be named for the metric {own.metric}, which is of scores"
    elif labels is not None and len(labels) < 2 and not (labels and rows[0].classes == "many"):
        yield f"at least two labels must be named, got {len(labels)}"
    if own.metric == "f1" and len(labels or ()) > 2:
        yield f"the metric f1 is of the second of two labels, got {len(labels or ())} labels"
    if own.name in TASKS and own.name != own.kind:
        yield f"the name must not be that of a task that is built in, got {own.name}"


def _are(value: object, *kinds: type) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(each, kinds) and each != "" for each in value)


_KINDS = tuple(name for name, spec in TASKS.items() if spec.is_own)
_KEYS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("name", "label_column", "cluster_column", "metric"), ("a text", lambda value: _are([value], str))),
    "text_columns": ("a list of texts", lambda value: _are(value, str)),
    "labels": ("a list of texts, whole numbers or booleans", lambda value: _are(value, str, int)),
    "files": ("a file name for each split", lambda value: isinstance(value, dict) and _are([*value.values()], str)),
    "task": (f"one of {', '.join(_KINDS)}, or be left out", _KINDS.__contains__),
}
"""Key of the TOML file -> what its value must be, and whether it is."""


def read_toml(path: Path) -> OwnData:
    """Read a description of one's own data; `TaskError` lists every fault of the file."""
    raw = toml_file(path, "the task file", TaskError)
    good = {key: raw[key] for key, (_, fits) in _KEYS.items() if key in raw and fits(raw[key])}
    faults = [f"{key} must be {_KEYS[key][0]}, got {raw[key]!r}" for key in raw if key in _KEYS and key not in good]
    for key in (key for key in raw if key not in _KEYS):
        near = difflib.get_close_matches(key, _KEYS, n=1)
        cure = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KEYS)}"
        faults.append(f"the key {key} is unknown; {cure}")
    kind, metric = good.pop("task", "labelled"), good.get("metric", "")
    required = ("name", "files", *(("text_columns", "label_column", "metric") if kind == "labelled" else ()))
    faults += [f"the key {key} must be there" for key in required if key not in raw]
    faults += [f"{key} must not be named beside task = {kind!r}" for key in rows_for(kind)[0].fixed if key in raw]
    if "task" not in raw and metric in METRIC_NAMES and not rows_for("labelled", metric):
        others = {each: rows_for(each)[0] for each in _KINDS if rows_for(each, metric)}
        place = "beside" if any(other.classes for other in others.values()) else "in place of"
        faults.append(f"task = {' or '.join(map(repr, others))} must stand {place} the metric {metric}")
    good["files"] = {split: path.parent / file for split, file in good.get("files", {}).items()}
    if "labels" in good:
        good["labels"] = tuple(map(str, good["labels"]))
    try:
        own = OwnData(kind=kind, **good)
    except TaskError as error:
        faults.append(str(error))
    if faults:
        raise TaskError(f"{path.name}: {'; '.join(faults)}")
    return own


def spec_of(own: OwnData) -> TaskSpec:
    """The task that one's own data are.

    Label names that are not given are collected from all the files, so that no split knows fewer labels than
    another and the order does not depend on which is read first: numbers by value, others by alphabet.

    Raises:
        DataError: A file cannot be read, or too few or too many labels are in the files.
    """
    labels, files = own.labels, ", ".join(path.name for path in own.files.values())
    if labels is None and own.row.classes:
        found = {label for split in own.files for label in _labels_in(own, read_own(own, split))}
        by_value = all(len(label) < _LONG and label.removeprefix("-").isdecimal() for label in found)
        labels = tuple(sorted(found, key=lambda label: (int(label) if by_value else 0, label)))
        least, most = 1 if own.row.classes == "many" else 2, 2 if own.metric == "f1" else len(labels)
        if not least <= len(labels) <= most:
            needed = "two labels" if own.metric == "f1" else f"at least {'one label' if least == 1 else 'two labels'}"
            got = f"{', '.join(labels[:10]) or 'none'}. Name all labels with --labels, or another column"
            raise DataError(f"{files}: {needed} must be in the column {own.label_column}, got {got}")
    others = tuple(split for split in own.files if split != "train") or ("validation",)
    shared = own.cluster_column or own.row.clustered or ""
    if shared in own.row.columns:  # by its place, for one's own files may call it otherwise
        shared = own.text_columns[own.row.columns.index(shared)]
    about: dict[str, Any] = {"kind": own.kind, "eval_splits": others}
    about |= {"label_column": own.label_column, "cluster_column": shared}
    return TaskSpec(own.name, own.text_columns, own.metric, labels, f"one's own: {files}", **about)


def _labels_in(own: OwnData, table: Table) -> Iterator[str]:
    for place, value in zip(table.rows, table.labels(own.label_column), strict=True):
        for label in value if own.row.classes == "many" and isinstance(value, list) else [value]:
            if isinstance(label, str) and label:
                yield label
            elif not own.skip_invalid:
                raise DataError(f"{place}: the label must be text, a whole number, true or false, got {brief(label)}")


def read_own(own: OwnData, split: str) -> Table:
    """The rows of one split, in the order of its file, or of its folder, which the reader of an empty ending reads.

    Raises:
        DataError: The file is missing, empty or unreadable, lacks a column, or has a row that is no row, unless these
            are to be left out.
    """
    path, readers = own.files[split], {**READERS, **own.row.load().readers}
    is_folder = path.is_dir() and "" in readers
    if not path.is_file() and not is_folder:
        raise DataError(f"the data file must be there, got {path}, which is no file")
    cures = dict.fromkeys(own.text_columns, "--text-column (text_columns in a TOML file) names another")
    for name, column in (("label", own.label_column), ("cluster", own.cluster_column)):
        if column:
            cures.setdefault(column, f"--{name}-column ({name}_column in a TOML file) names another")
    table = Table(path.name, left_out=[] if own.skip_invalid else None)
    if is_folder or path.stat().st_size:
        readers["" if is_folder else path.suffix](path, table, list(cures))
        for column, cure in cures.items():
            table.require([column], cure)
    if not table.rows and not table.left_out:
        raise DataError(f"{path.name}: at least one example must be there, got none")
    if (mark := own.row.separator) and own.label_column:

        def parted(cell: Any) -> Any:
            return [each.strip() for each in cell.split(mark) if cell.strip()] if isinstance(cell, str) else cell

        table.change(own.label_column, parted)
    return table
