"""Do two ablations, two criteria, or a criterion and what heads are worth agree? (paper, figure 2).

A series is a number a head, from a file, as the record of `prune-heads correlate` holds it: `name`, `source` (of the
file or folder, without its path), `kind` (`ablation` or `scores`), `n_heads` that were measured, `values` (one row a
block; None for a head that was not measured), and of an ablation its `ablation` (key of `prune_heads.ablation.KINDS`),
`metric` and `labels` (None for regression). `model` and `fingerprint` are None where the file does not know them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, combinations
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prune_heads.errors import LabelError, PruneHeadsError, RunError
from prune_heads.files import read_json
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, SCORES_FILE, Study
from prune_heads.statistics import correlate

DIFFERENCE, SCORE = "difference", "score"
LOSS = "loss without the head"  # minus the difference: what should be large where a score is
ALONE = "difference with the head alone"  # of `only-one`, where the head that matters does well: as it is

Series = dict[str, Any]


def correlate_files(paths: Sequence[Path], reporter: Reporter) -> dict[str, Any]:
    """The record of `prune-heads correlate`: the series of all files, and how every pair agrees.

    Raises:
        PruneHeadsError: If a file cannot be read, or the series cannot be compared.
    """
    study = Study("correlate", reporter)
    series = read_all(paths)
    study.begin(series=series)
    correlations = correlate_all(series, reporter)
    study.lap("correlate")
    return study.record(torch.device("cpu"), correlations=correlations)


def read_all(paths: Sequence[Path]) -> list[Series]:
    """The series of all files, in order; each has a name of its own.

    Raises:
        RunError: See `read_series`.
    """
    found, times = [series for path in paths for series in read_series(path)], Counter[str]()
    for series in found:
        times[series["name"]] += 1
        if (n := times[series["name"]]) > 1:
            series["name"] += f" ({n})"
    return found


def read_series(path: Path) -> list[Series]:
    """What `prune-heads ablate --output` (a series a split) or `prune-heads score --output` has written.

    Args:
        path: The folder, or the record.json or scores.json in it.

    Raises:
        RunError: If it is neither.
    """
    file, source = path, path.resolve().name
    if path.is_file():  # several are called record.json
        source = f"{path.resolve().parent.name}/{source}"
    elif path.is_dir():
        there = [path / name for name in (SCORES_FILE, RECORD_FILE) if (path / name).is_file()]
        if not there:
            raise RunError(_neither(f"{source} holds no {SCORES_FILE} and no {RECORD_FILE}"))
        file = there[0]
    value = read_json(file, "a file to correlate")
    try:
        if value.get("command") == "ablate" and "pairs" not in value:
            return [_ablation(value, table, source) for table in value["tables"]]
        if "scores" in value:
            record = file.resolve().with_name(RECORD_FILE)
            model = read_json(record, "the record beside the scores").get("model") if record.is_file() else None
            return [_scores(value, model if isinstance(model, dict) else {}, source)]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(_neither(f"{source} is damaged ({type(error).__name__}: {error})")) from error
    raise RunError(_neither(f"{source} is of another command, or not of ours"))


def _neither(problem: str) -> str:
    return (
        f"each input must be what 'prune-heads ablate --output' or 'prune-heads score --output' writes, the folder or "
        f"its {RECORD_FILE} or {SCORES_FILE}; {problem}. Name another"
    )


def _ablation(record: Mapping[str, Any], table: Mapping[str, Any], source: str) -> Series:
    model, labels = record["model"], record["labels"]
    of_model = {"model": model["name"], "fingerprint": model["fingerprint"]}
    about = {"ablation": table["kind"], "metric": table["metric"], "labels": labels and [*map(str, labels)]}
    name = f"{model['name']} {table['split']} {table['kind']}"
    return _series(table["delta"], name=name, source=source, kind="ablation", **about, **of_model)


def _scores(scores: Mapping[str, Any], model: Mapping[str, Any], source: str) -> Series:
    how = [word for word in (scores["estimator"], scores["normalize"]) if word not in (None, "none")]
    name = scores["criterion"] + (f" ({', '.join(how)})" if how else "")
    if scores["split"] is not None:
        name += f" on {scores['split']}"
    about = {"model": model.get("name"), "fingerprint": model.get("fingerprint")}
    of_ablations = dict.fromkeys(("ablation", "metric", "labels"))
    return _series(scores["scores"], name=name, source=source, kind="scores", **of_ablations, **about)


def _series(rows: Any, **about: Any) -> Series:
    """Raises TypeError or ValueError if the rows are no lists of finite numbers or None, or all are None."""
    values = [[None if value is None else float(value) for value in row] for row in rows]
    measured = [value for value in chain(*values) if value is not None]
    if not measured or not all(map(isfinite, measured)):
        raise ValueError("a number is not finite" if measured else "no head was measured")
    return {**about, "n_heads": len(measured), "values": values}


def correlate_all(series: Sequence[Series], reporter: Reporter) -> list[dict[str, Any]]:
    """Every pair: `{"first", "second", "first_measure", "second_measure", "n_heads", "pearson", "spearman"}`.

    Series of different models are noted, once for two models, of which there may be many series.

    Raises:
        RunError: If the heads, or the metrics of two ablations, are not the same.
        LabelError: If two ablations are of different labels.
    """
    told, found = set[frozenset[str | None]](), []
    for first, second in combinations(series, 2):
        _check(first, second)
        models = frozenset((first["fingerprint"], second["fingerprint"]))
        if len(models) == 2 and None not in models and models not in told:
            told.add(models)
            reporter.note(
                f"{first['name']} and {second['name']} are of different models: head 1:1 of one need have nothing to "
                "do with head 1:1 of the other, unless they were fine-tuned from the same weights"
            )
        names = {"first": first["name"], "second": second["name"]}
        measures = {"first_measure": _measure(first, second), "second_measure": _measure(second, first)}
        found.append({**names, **measures, **correlate(_flat(first, second), _flat(second, first))})
    return found


def _check(first: Series, second: Series) -> None:
    """Refuse what cannot be compared; the order of labels is that of the file, and no metric depends on it."""
    two = (first, second)
    shapes: list[Any] = [[len(row) for row in each["values"]] for each in two]
    must: list[tuple[type[PruneHeadsError], str, list[Any], str]]
    must = [(RunError, "heads", shapes, "Correlate models of one shape")]
    if "scores" not in (first["kind"], second["kind"]):
        labels = [", ".join(sorted(each["labels"] or ())) or "scores instead" for each in two]
        metrics = [each["metric"] for each in two]
        must.append((LabelError, "labels", labels, "Correlate data sets of one kind of task"))
        must.append((RunError, "metric", metrics, "Repeat one of them with the metric of the other"))
    for error, what, (one, other), cure in must:
        if one != other:
            raise error(
                f"all series must be of the same {what} to be compared; {first['name']} ({first['source']}) has {one}, "
                f"{second['name']} ({second['source']}) has {other}. {cure}"
            )


def _measure(series: Series, other: Series) -> str:
    """What its numbers stand for when they are compared with another series."""
    if series["kind"] == "scores":
        return SCORE
    if other["kind"] == "ablation":
        return DIFFERENCE
    return LOSS if series["ablation"] == "without-one" else ALONE


def _flat(series: Series, other: Series) -> np.ndarray:
    """`(total heads,)`, NaN where a head was not measured; larger for a head that matters more, beside scores."""
    flat = np.asarray([*chain(*series["values"])], dtype=np.float64)
    return -flat if _measure(series, other) == LOSS else flat
