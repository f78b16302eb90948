"""Do two ablations, two criteria, or a criterion and what heads are worth agree? (paper, figure 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from prune_heads.errors import LabelError, RunError
from prune_heads.files import read_json
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, SCORES_FILE, Admit, Study, anyone
from prune_heads.statistics import correlate

DIFFERENCE, SCORE = "difference", "score"
LOSS = "loss without the head"
"""Minus the difference: what should be large where a score is."""
ALONE = "difference with the head alone"
"""Of `only-one`, where the head that matters is the one that does well: as it is."""

Rows = list[list[float | None]]


@dataclass(frozen=True)
class Series:
    """A number a head, from a file."""

    name: str
    source: str
    """Name of the file or folder, without its path."""
    kind: Literal["ablation", "scores"]
    n_heads: int
    """Heads that were measured."""
    values: Rows
    """Differences or scores: one row a block; None for a head that was not measured."""
    ablation: str | None = None
    """Of an ablation: key of `prune_heads.ablation.KINDS`."""
    metric: str | None = None
    """Of an ablation."""
    labels: tuple[str, ...] | None = None
    """Of an ablation; None for regression too."""
    model: str | None = None
    fingerprint: str | None = None
    """Of the model; None where the file does not know it."""

    @property
    def shape(self) -> list[int]:
        """Heads of each block."""
        return [len(row) for row in self.values]

    def beside(self, other: "Series") -> str:
        """What its numbers stand for when they are compared with another series."""
        if self.kind == "scores":
            return SCORE
        if other.kind == "ablation":
            return DIFFERENCE
        return LOSS if self.ablation == "without-one" else ALONE

    def to_json(self) -> dict[str, Any]:
        """All fields; layers and heads in order."""
        return {**asdict(self), "labels": None if self.labels is None else list(self.labels)}


def read_all(paths: Sequence[Path]) -> list[Series]:
    """The series of all files, in order; each has a name of its own.

    Raises:
        RunError: See `read_series`.
    """
    found: list[Series] = []
    times: dict[str, int] = {}
    for series in (series for path in paths for series in read_series(path)):
        n = times[series.name] = times.get(series.name, 0) + 1
        found.append(series if n == 1 else replace(series, name=f"{series.name} ({n})"))
    return found


def read_series(path: Path) -> list[Series]:
    """What `prune-heads ablate --output` (a series a split) or `prune-heads score --output` has written.

    Args:
        path: The folder, or the record.json or scores.json in it.

    Raises:
        RunError: If it is neither.
    """
    source = path.resolve().name
    if path.is_file():  # several are called record.json
        source = f"{path.resolve().parent.name}/{source}"
    file = path
    if path.is_dir():
        scores = path / SCORES_FILE
        file = scores if scores.is_file() else path / RECORD_FILE
        if not file.is_file():
            raise RunError(_neither(f"{source} holds no {SCORES_FILE} and no {RECORD_FILE}"))
    value = read_json(file, "a file to correlate")
    try:
        if value.get("command") == "ablate":
            return [_ablation(value, table, source) for table in value["tables"]]
        if "scores" in value:
            return [_scores(value, _model_beside(file), source)]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(_neither(f"{source} is damaged ({type(error).__name__}: {error})")) from error
    raise RunError(_neither(f"{source} is of another command, or not of ours"))


def correlate_files(paths: Sequence[Path], reporter: Reporter, *, admit: Admit = anyone) -> dict[str, Any]:
    """The record of `prune-heads correlate`: the series of all files, and how every pair agrees.

    Raises:
        PruneHeadsError: If a file cannot be read, or the series cannot be compared.
    """
    study = Study("correlate", reporter, admit)
    series = read_all(paths)
    study.begin(series=[each.to_json() for each in series])
    correlations = correlate_all(series, reporter)
    study.lap("correlate")
    return study.record(torch.device("cpu"), correlations=correlations)


def correlate_all(series: Sequence[Series], reporter: Reporter) -> list[dict[str, Any]]:
    """Every pair: `{"first", "second", "first_measure", "second_measure", "n_heads", "pearson", "spearman"}`.

    Raises:
        RunError: If the heads, or the metrics of two ablations, are not the same.
        LabelError: If two ablations are of different labels.
    """
    pairs = list(combinations(series, 2))
    for first, second in pairs:
        _check(first, second)
    _note_other_models(pairs, reporter)
    return [
        {
            "first": first.name,
            "second": second.name,
            "first_measure": first.beside(second),
            "second_measure": second.beside(first),
            **correlate(_flat(first, second), _flat(second, first)).to_json(),
        }
        for first, second in pairs
    ]


def _check(first: Series, second: Series) -> None:
    if first.shape != second.shape:
        raise RunError(
            f"all series must be of the same heads; {first.name} ({first.source}) has {first.shape} heads a layer, "
            f"{second.name} ({second.source}) has {second.shape}. Correlate models of one shape"
        )
    if "scores" in (first.kind, second.kind):
        return
    if _sorted(first.labels) != _sorted(second.labels):
        raise LabelError(
            f"two ablations must be of the same labels; {first.name} has {_named(first.labels)}, {second.name} has "
            f"{_named(second.labels)}. Correlate data sets of one kind of task"
        )
    if first.metric != second.metric:
        raise RunError(
            f"two ablations must be of the same metric; {first.name} is of {first.metric}, {second.name} of "
            f"{second.metric}. Repeat one of them with the metric of the other"
        )


def _note_other_models(pairs: Sequence[tuple[Series, Series]], reporter: Reporter) -> None:
    """One note for two models, of which there may be many series."""
    told: set[frozenset[str | None]] = set()
    for first, second in pairs:
        models = frozenset([first.fingerprint, second.fingerprint])
        if len(models) == 2 and None not in models and models not in told:
            told.add(models)
            reporter.note(
                f"{first.name} and {second.name} are of different models: head 1:1 of one need have nothing to do "
                "with head 1:1 of the other, unless they were fine-tuned from the same weights"
            )


def _ablation(record: Mapping[str, Any], table: Mapping[str, Any], source: str) -> Series:
    name, labels = record["model"]["name"], record["labels"]
    values = _rows(table["delta"])
    if not _measured(values):
        raise ValueError("no head was measured")
    return Series(
        f"{name} {table['split']} {table['kind']}",
        source,
        "ablation",
        _measured(values),
        values,
        table["kind"],
        table["metric"],
        None if labels is None else tuple(map(str, labels)),
        name,
        record["model"]["fingerprint"],
    )


def _scores(scores: Mapping[str, Any], model: Mapping[str, Any], source: str) -> Series:
    values = _rows(scores["scores"])
    how = [scores["estimator"], None if scores["normalize"] == "none" else scores["normalize"]]
    name = scores["criterion"]
    if any(how):
        name += f" ({', '.join(word for word in how if word)})"
    if scores["split"] is not None:
        name += f" on {scores['split']}"
    return Series(
        name, source, "scores", _measured(values), values, model=model.get("name"), fingerprint=model.get("fingerprint")
    )


def _model_beside(scores: Path) -> Mapping[str, Any]:
    """The model, from the record that stands beside a file of scores; nothing where there is none."""
    record = scores.resolve().with_name(RECORD_FILE)
    if not record.is_file():
        return {}
    model = read_json(record, "the record beside the scores").get("model")
    return model if isinstance(model, dict) else {}


def _rows(rows: Any) -> Rows:
    """Checked: lists of finite numbers or None.

    Raises:
        TypeError: If they are something else.
        ValueError: If there is no head, or a number is not finite.
    """
    found = [[None if value is None else float(value) for value in row] for row in rows]
    if not any(found):
        raise ValueError("there are no heads")
    if not all(value is None or isfinite(value) for row in found for value in row):
        raise ValueError("a number is not finite")
    return found


def _flat(series: Series, other: Series) -> np.ndarray:
    """`(total heads,)`, NaN where a head was not measured; larger for a head that matters more, beside scores."""
    flat = np.asarray([value for row in series.values for value in row], dtype=np.float64)
    return -flat if series.beside(other) == LOSS else flat


def _measured(rows: Rows) -> int:
    return sum(value is not None for row in rows for value in row)


def _sorted(labels: tuple[str, ...] | None) -> list[str] | None:
    """Their order is that of the file, and the metrics do not depend on it."""
    return None if labels is None else sorted(labels)


def _named(labels: tuple[str, ...] | None) -> str:
    return "scores instead of labels" if labels is None else ", ".join(labels)


def _neither(problem: str) -> str:
    return (
        f"each input must be what 'prune-heads ablate --output' or 'prune-heads score --output' writes, the folder or "
        f"its {RECORD_FILE} or {SCORES_FILE}; {problem}. Name another"
    )
