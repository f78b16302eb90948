"""One's own data: files with text columns and, unless a language model is to read them, a label column."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune_heads.errors import DataError, TaskError
from prune_heads.objectives import Row, rows_for
from prune_heads.objectives.formats import READERS, Columns, read_columns
from prune_heads.tasks.rows import Rows, assemble
from prune_heads.tasks.spec import REGRESSION_METRICS, TASKS, TaskSpec
from prune_heads.visible import brief

_LONG = 19
"""Digits of labels that are sorted by alphabet: no number of 64 bits has so many."""


@dataclass(frozen=True)
class OwnData:
    """Files of one's own and how to read them; importance is scored on `train`, results are of the others."""

    files: Mapping[str, Path]
    """Split name -> file; the ending says the format. One may be missing until it is asked for."""
    text_columns: tuple[str, ...]
    """What the model is given: one, or two for pairs; see `Row.columns`."""
    label_column: str | None
    """None where there are no labels."""
    metric: str
    """Key of `Row.metrics`."""
    labels: tuple[str, ...] | None = None
    """Label names in the order of the task; for None, all that any of the files holds, sorted."""
    name: str = "own"
    kind: str = "labelled"
    skip_invalid: bool = False
    """Whether rows that are at fault are left out and counted, instead of refused."""

    @property
    def row(self) -> Row:
        """What its files hold."""
        return rows_for(self.kind, self.metric)[0]

    def __post_init__(self) -> None:
        faults = own_faults(
            self.files, self.text_columns, self.label_column, self.metric, self.labels, self.name, self.kind
        )
        if faults:
            raise TaskError(f"{self.name}: {'; '.join(faults)}")


def own_texts(
    kind: str,
    files: Mapping[str, Path],
    text_columns: Sequence[str] | None = None,
    name: str | None = None,
    label_column: str | None = None,
    metric: str | None = None,
    labels: tuple[str, ...] | None = None,
) -> OwnData:
    """Files of one's own of a kind of tasks; the columns are called as its `Row` says unless they are named.

    Raises:
        TaskError: Something in the description is wrong; the message lists every fault.
    """
    row = rows_for(kind)[0]
    metric = metric or next(iter(row.metrics))
    label = row.label and (label_column or row.label)
    return OwnData(files, tuple(text_columns or row.columns), label, metric, labels, name or kind, kind)


def own_faults(
    files: Mapping[str, Path] | None,
    text_columns: Sequence[str] | None,
    label_column: str | None,
    metric: str | None,
    labels: Sequence[str] | None,
    name: str | None,
    kind: str = "labelled",
) -> list[str]:
    """All that is wrong with a description of one's own data; what is None is not looked at."""
    faults, rows = [], rows_for(kind)
    endings = dict.fromkeys([*READERS, *rows[0].load().readers])
    if files is not None:
        if not files:
            faults.append("at least one file must be named, e.g. for the split validation")
        for split, path in files.items():
            if path.suffix not in endings and not (path.is_dir() and "" in endings):
                shown = ", ".join(ending or "nothing (a folder)" for ending in endings)
                faults.append(f"the {split} file must end with {shown}, got {path.name}")
    if text_columns is not None:
        allowed = rows[0].n_columns
        if len(text_columns) not in allowed:
            said = " or ".join(("one", "two", "three")[n - 1] for n in allowed)
            noun = "column" if allowed == (1,) else "columns"
            faults.append(f"{said} text {noun} must be named, got {len(text_columns)}")
        columns = [*text_columns, *([] if label_column is None else [label_column])]
        if twice := _twice(columns):
            faults.append(f"text and label columns must differ, got {twice} twice")
    metrics = [each for row in rows for each in row.metrics]
    if metric is not None and metric not in metrics:
        faults.append(f"the metric must be one of {', '.join(metrics)}, got {metric!r}")
    if labels is not None:
        faults += _label_faults(metric, labels, rows[0].load().classes == "many")
    if name in TASKS and name != kind:
        faults.append(f"the name must not be that of a task that is built in, got {name}")
    return faults


def _label_faults(metric: str | None, labels: Sequence[str], is_many: bool) -> list[str]:
    faults = []
    if metric in REGRESSION_METRICS:
        faults.append(f"labels must not be named for the metric {metric}, which is of scores")
    elif len(labels) < 2 and not (labels and is_many):
        faults.append(f"at least two labels must be named, got {len(labels)}")
    if metric == "f1" and len(labels) > 2:
        faults.append(f"the metric f1 is of the second of two labels, got {len(labels)} labels")
    if twice := _twice(labels):
        faults.append(f"labels must differ, got {twice} twice")
    return faults


def spec_of(own: OwnData) -> TaskSpec:
    """The task that one's own data are.

    Label names that are not given are collected from all the files, so that no split knows fewer labels than
    another and the order does not depend on which is read first: numbers by value, others by alphabet.

    Raises:
        DataError: A file cannot be read, or too few or too many labels are in the files.
    """
    labels = own.labels
    if labels is None and own.label_column is not None and own.row.load().classes:
        found = {label for path in own.files.values() for label in _labels_in(own, path)}
        by_value = all(
            isinstance(label, str) and len(label) < _LONG and label.removeprefix("-").isdecimal() for label in found
        )
        labels = tuple(sorted(map(str, found), key=lambda label: (int(label) if by_value else 0, label)))
        least, most = 1 if own.row.load().classes == "many" else 2, 2 if own.metric == "f1" else len(labels)
        if not least <= len(labels) <= most:
            needed = "two labels" if own.metric == "f1" else f"at least {('one label', 'two labels')[least - 1]}"
            files = ", ".join(path.name for path in own.files.values())
            rest = "; rows that are invalid are left out" if own.skip_invalid else ""
            raise DataError(
                f"{files}: {needed} must be in the column {own.label_column}, got "
                f"{', '.join(labels[:10]) or 'none'}{rest}. Name all labels with --labels, or another column"
            )
    eval_splits = tuple(split for split in own.files if split != "train") or ("validation",)
    summary = f"one's own: {', '.join(path.name for path in own.files.values())}"
    return TaskSpec(
        own.name, own.text_columns, labels, own.metric, eval_splits=eval_splits, summary=summary, kind=own.kind
    )


def read_own(own: OwnData, spec: TaskSpec, split: str) -> Rows:
    """Read one split of one's own data.

    Raises:
        DataError: The file is missing or unreadable, lacks a column, or a row is at fault; rows count from 1,
            a CSV's header and blank lines not counted.
    """
    path = own.files[split]
    found, labels = _read(own, path)
    return assemble(
        [found.column(i) for i in range(len(own.text_columns))],
        labels,
        spec=spec,
        codes={label: i for i, label in enumerate(spec.labels or ())},
        place=lambda i: found.places[i],
        source=path.name,
        left_out=found.left_out,
    )


def _read(own: OwnData, path: Path) -> tuple[Columns, list[object] | None]:
    """The columns, and the labels if there are any: classes as text where they are one, else as they came."""
    wanted = dict.fromkeys(own.text_columns, "--text-column (text_columns in a TOML file)")
    objective = own.row.load()
    if own.label_column is not None:
        wanted[own.label_column] = "--label-column (label_column in a TOML file)"
    found = read_columns(path, wanted, more=objective.readers, skip_invalid=own.skip_invalid)
    if own.label_column is None:
        return found, None
    labels = found.column(-1) if found.rows else []
    if objective.classes:
        names = found.classes.get(own.label_column)
        labels = [
            [_as_text(each, names) for each in label]
            if objective.classes == "many" and isinstance(label, list)
            else _as_text(label, names)
            for label in (_split(label, objective.separator) for label in labels)
        ]
    return found, labels


def _labels_in(own: OwnData, path: Path) -> Iterator[str]:
    found, labels = _read(own, path)
    is_many = own.row.load().classes == "many"
    for place, value in zip(found.places, labels or (), strict=True):
        for label in value if is_many and isinstance(value, list) else [value]:
            if isinstance(label, str) and label:
                yield label
            elif not own.skip_invalid:
                raise DataError(f"{place}: the label must be text, a whole number, true or false, got {brief(label)}")


def _as_text(label: object, names: Sequence[str] | None) -> object:
    """`positive`, `1`, `True`; what is no label as it is."""
    if names is None:
        return str(label) if isinstance(label, int) else label
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else label


def _split(label: object, separator: str | None) -> object:
    """The labels of a row that are one text; an empty text holds none."""
    if separator is None or not isinstance(label, str):
        return label
    return [each.strip() for each in label.split(separator)] if label.strip() else []


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name, n in Counter(names).items() if n > 1), None)
