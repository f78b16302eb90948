"""Do two ablations, two criteria, or a criterion and what heads are worth agree? (paper, figure 2).

A series is a number a head, from a file, as the record of `prune-heads correlate` holds it: `name`, `source` (of the
file or folder, without its path), `kind` (`ablation` or `scores`), `n_heads` that were measured, `values` (one row a
block; None for a head that was not measured), and of an ablation its `ablation` (key of `prune_heads.ablation.KINDS`),
`metric` and `labels` (None for regression). A response beside the metric is a series after it, whose `metric` is its
name and `response` its unit. `model` and `fingerprint` are None where the file does not know them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prune_heads.errors import LabelError, RunError
from prune_heads.files import read_json
from prune_heads.objectives.responses import LIKELIHOOD
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, SCORES_FILE, Study
from prune_heads.statistics import correlate

DIFFERENCE, SCORE = "difference", "score"
LOSS = "loss without the head"  # minus the difference: what should be large where a score is
_OTHER = {"pairs", "random"}  # what records of other ablations have in place of tables
ALONE = "difference with the head alone"  # of `only-one`, where the head that matters does well: as it is

Series = dict[str, Any]


def correlate_files(paths: Sequence[Path], reporter: Reporter) -> dict[str, Any]:
    """The record of `prune-heads correlate`: the series of all files, each by a name of its own, and how they agree.

    Every pair: `{"first", "second", "first_measure", "second_measure", "n_heads", "pearson", "spearman"}`; but a metric
    and a response only of one table. Series of different models are noted, once for two models, of which there may be
    many series. A `RunError` if a file cannot be read, or the heads, or the metrics of two ablations, are not the same;
    a `LabelError` if two ablations are of different labels.
    """
    study, times = Study("correlate", reporter), Counter[str]()
    series = [each for path in paths for each in read_series(path)]
    for each in series:
        times[each["name"]] += 1
        if (n := times[each["name"]]) > 1:
            each["name"] += f" ({n})"
    study.begin(series=series)
    told, found = set[frozenset[str | None]](), []
    for (i, first), (j, second) in combinations(enumerate(series), 2):
        is_across = "scores" not in (first["kind"], second["kind"]) and ("response" in first) != ("response" in second)
        if is_across and (j > i + 1 or "response" in first):
            continue
        _check(first, second)
        models = frozenset((first["fingerprint"], second["fingerprint"]))
        if len(models) == 2 and None not in models and models not in told:
            told.add(models)
            why = "head 1:1 of one need have nothing to do with head 1:1 of the other, unless they were fine-tuned from"
            reporter.note(f"{first['name']} and {second['name']} are of different models: {why} the same weights")
        (measure, values), (other, beside) = _compared(first, second), _compared(second, first)
        about = {"first": first["name"], "second": second["name"], "first_measure": measure, "second_measure": other}
        found.append({**about, **correlate(values, beside)})
    study.lap("correlate")
    return study.record(torch.device("cpu"), correlations=found)


def read_series(path: Path) -> list[Series]:
    """What `prune-heads ablate --output` (a series a split and response) or `prune-heads score --output` has written.

    A `RunError` if it is neither.

    Args:
        path: The folder, or the record.json or scores.json in it.
    """
    source, file = path.resolve().name, path
    if path.is_file():  # several are called record.json
        source = f"{path.resolve().parent.name}/{source}"
    elif path.is_dir():
        file = path / (SCORES_FILE if (path / SCORES_FILE).is_file() else RECORD_FILE)
    problem = f"{source} is of another command, or not of ours"
    try:
        if path.is_dir() and not file.is_file():
            problem = f"{source} holds no {SCORES_FILE} and no {RECORD_FILE}"
        elif (value := read_json(file, "a file to correlate")).get("command") == "ablate" and not _OTHER & {*value}:
            return [each for table in value["tables"] for each in _ablation(value, table, source)]
        elif "scores" in value:
            record = file.resolve().with_name(RECORD_FILE)
            model = read_json(record, "the record beside the scores").get("model") if record.is_file() else None
            return [_scores(value, model if isinstance(model, dict) else {}, source)]
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{source} is damaged ({type(error).__name__}: {error})"
    must = "each input must be what 'prune-heads ablate --output' or 'prune-heads score --output' writes, the folder or"
    raise RunError(f"{must} its {RECORD_FILE} or {SCORES_FILE}; {problem}. Name another")


def _ablation(record: Mapping[str, Any], table: Mapping[str, Any], source: str) -> Iterator[Series]:
    model, labels = record["model"], record["labels"]
    stands_in = record.get("configuration", {}).get("replace")
    name = f"{model['name']} {table['split']} {table['kind']}" + (f" ({stands_in})" if stands_in else "")
    of_ablation = {"ablation": table["kind"], "metric": table["metric"], "labels": labels and [*map(str, labels)]}
    about = {**of_ablation, "model": model["name"], "fingerprint": model["fingerprint"]}
    yield {"name": name, "source": source, "kind": "ablation", **about, **_measured(table["delta"])}
    likelihood = table.get("likelihood") and {**LIKELIHOOD._asdict(), **table["likelihood"]}
    if of := likelihood or table.get("response"):
        about |= {"metric": of["name"], "response": of["unit"]}
        said = f"{name}, {of['name'].removesuffix(' of the right answer')}"
        yield {"name": said, "source": source, "kind": "ablation", **about, **_measured(of["delta"])}


def _scores(scores: Mapping[str, Any], model: Mapping[str, Any], source: str) -> Series:
    how = [word for word in (scores["estimator"], scores["normalize"]) if word not in (None, "none")]
    name = scores["criterion"] + (f" ({', '.join(how)})" if how else "")
    if scores["split"] is not None:
        name += f" on {scores['split']}"
    about = dict.fromkeys(("ablation", "metric", "labels"))
    about |= {"model": model.get("name"), "fingerprint": model.get("fingerprint")}
    return {"name": name, "source": source, "kind": "scores", **about, **_measured(scores["scores"])}


def _measured(rows: Any) -> dict[str, Any]:
    """Raises TypeError or ValueError if the rows are no lists of finite numbers or None, or all are None."""
    values = [[None if value is None else float(value) for value in row] for row in rows]
    measured = [value for value in chain(*values) if value is not None]
    if not measured or not all(map(isfinite, measured)):
        raise ValueError("a number is not finite" if measured else "no head was measured")
    return {"n_heads": len(measured), "values": values}


def _check(first: Series, second: Series) -> None:
    """Refuse what cannot be compared; the order of labels is that of the file, and no metric depends on it."""
    two = (first, second)
    shapes: list[Any] = [[len(row) for row in each["values"]] for each in two]
    must: list[Any] = [(RunError, "heads", shapes, "Correlate models of one shape")]
    if "scores" not in (first["kind"], second["kind"]) and ("response" in first) == ("response" in second):
        labels = [", ".join(sorted(each["labels"] or ())) or "scores instead" for each in two]
        metrics = [each["metric"] for each in two]
        must.append((LabelError, "labels", labels, "Correlate data sets of one kind of task"))
        must.append((RunError, "metric", metrics, "Repeat one of them with the metric of the other"))
    for error, what, (one, other), cure in must:
        if one != other:
            got = [f"{each['name']} ({each['source']}) has {of}" for each, of in zip(two, (one, other), strict=True)]
            raise error(f"all series must be of the same {what} to be compared; {', '.join(got)}. {cure}")


def _compared(series: Series, other: Series) -> tuple[str, np.ndarray]:
    """What its numbers stand for beside another series; and they, `(total heads,)`, NaN where none was measured.

    Beside scores they are larger for a head that matters more.
    """
    flat = np.asarray([*chain(*series["values"])], dtype=np.float64)
    if series["kind"] == "scores":
        return SCORE, flat
    if other["kind"] == "ablation":
        return DIFFERENCE, flat
    return (LOSS, -flat) if series["ablation"] == "without-one" else (ALONE, flat)
