"""The small TOML file that describes one's own data.

name = "reviews"
text_columns = ["text"]
label_column = "label"
metric = "accuracy"
labels = ["negative", "positive"]   # optional

[files]                             # relative to this file
train = "train.csv"
validation = "validation.csv"

With `task = "lm"`, `"seq2seq"` or `"translation"` a language model reads the texts: no label column, labels or metric
then.
"""

import difflib
from pathlib import Path
from types import UnionType
from typing import Any

from prune_heads import reading
from prune_heads.errors import TaskError
from prune_heads.objectives import rows_for
from prune_heads.tasks.own import OwnData, own_faults, own_texts
from prune_heads.tasks.spec import LABEL_METRICS, METRIC_NAMES, TASKS

_REQUIRED = ("name", "text_columns", "label_column", "metric", "files")
_KEYS = (*_REQUIRED, "labels", "task")
_NOT_OF_TEXTS = ("label_column", "labels", "metric")
_KINDS = tuple(name for name, spec in TASKS.items() if spec.is_own)


def read_toml(path: Path) -> OwnData:
    """Read a description of one's own data.

    Raises:
        TaskError: The file is missing or no TOML, or something in it is wrong; the message lists every fault.
    """
    raw = reading.read_toml(path, "the task file", TaskError)
    faults = [_unknown(key) for key in raw if key not in _KEYS]
    kind = _kind(raw, faults)
    needed = _REQUIRED if kind == "labelled" else ("name", "files")
    faults += [f"the key {key} must be there" for key in needed if key not in raw]
    if kind != "labelled":
        row = rows_for(kind)[0]
        refused = (
            [] if row.has_classes else [key for key in _NOT_OF_TEXTS if key != "label_column" or row.label is None]
        )
        faults += [f"{key} must not be named beside task = {kind!r}" for key in refused if key in raw]
    name, label_column, metric = (_text(raw, key, faults) for key in ("name", "label_column", "metric"))
    text_columns = _list(raw, "text_columns", str, "texts", faults)
    labels = _list(raw, "labels", str | int, "texts, whole numbers or booleans", faults)
    files = _files(raw, path.parent, faults)
    faults += own_faults(files, text_columns, label_column, metric, labels, name, kind)
    if not faults and kind != "labelled" and files:
        return own_texts(kind, files, text_columns, name, label_column, metric, labels)
    if faults or not (name and label_column and metric and text_columns and files):
        raise TaskError(f"{path.name}: {'; '.join(faults)}")
    return OwnData(files, text_columns, label_column, metric, labels, name)


def _kind(raw: dict[str, Any], faults: list[str]) -> str:
    if "task" not in raw:
        metric = raw.get("metric")
        if isinstance(metric, str) and metric in METRIC_NAMES and metric not in LABEL_METRICS:
            rows = {kind: rows_for(kind)[0] for kind in _KINDS if rows_for(kind, metric)}
            place = "beside" if any(row.has_classes for row in rows.values()) else "in place of"
            faults.append(f"task = {' or '.join(map(repr, rows))} must stand {place} the metric {metric}")
        return "labelled"
    if raw["task"] not in _KINDS:
        faults.append(f"task must be one of {', '.join(_KINDS)}, or be left out, got {raw['task']!r}")
        return "labelled"
    return str(raw["task"])


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, _KEYS, n=1)
    return f"the key {key} is unknown; " + (f"did you mean {near[0]}?" if near else f"known are {', '.join(_KEYS)}")


def _text(raw: dict[str, Any], key: str, faults: list[str]) -> str | None:
    value = raw.get(key)
    if key in raw and not (isinstance(value, str) and value):
        faults.append(f"{key} must be a text, got {value!r}")
        return None
    return value


def _list(
    raw: dict[str, Any], key: str, kind: type | UnionType, what: str, faults: list[str]
) -> tuple[str, ...] | None:
    if key not in raw:
        return None
    values = raw[key]
    if not isinstance(values, list) or not all(isinstance(value, kind) and value != "" for value in values):
        faults.append(f"{key} must be a list of {what}, got {values!r}")
        return None
    return tuple(map(str, values))


def _files(raw: dict[str, Any], folder: Path, faults: list[str]) -> dict[str, Path] | None:
    if "files" not in raw:
        return None
    files = raw["files"]
    if not isinstance(files, dict) or not all(isinstance(file, str) and file for file in files.values()):
        faults.append(f"[files] must give one file name a split, got {files!r}")
        return None
    return {split: folder / file for split, file in files.items()}
