"""What came out of a sweep as a long-form table: a row a trial, split and metric.

Trials are told apart by all that was asked for and by the fingerprints of what was found; a name only shows. Where two
folders have one name, each is shown with as much of its path as tells them apart.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from prune_heads.canonical import canonical
from prune_heads.execution.folder import SweepFolder

ALWAYS = ("model", "task")
"""Options that stand in the table though they do not vary."""
FOUND = ("split", "metric", "n_examples", "base", "pruned", "difference", "low", "high")
FINGERPRINTS = ("model_fingerprint", "data_fingerprint", "scored_fingerprint")
"""Of the model, of the examples of the split, and of those that heads were scored on (None: there were none)."""
_DIGITS = 12
"""Of a fingerprint, which tell a few thousand apart."""
Row = dict[str, Any]
Draws = Callable[[Mapping[str, Any]], bool]


def result_rows(folder: SweepFolder, draws: Draws = lambda values: True) -> Iterator[Row]:
    """The rows of the trials that are done, in the order of their digests.

    Columns: the trial's digest; model, task and what varies; heads pruned of all; split, metric, examples; the metric
    before and after, their difference and its 95% interval; whether it is the headline metric; fingerprints.

    Args:
        folder: Of the sweep.
        draws: Whether a trial of these values depends on its seed. Of those that do not, one seed is taken: an older
            sweep may have run them all.

    Raises:
        RunError: If a record is damaged; names it.
    """
    axes = tuple(dict.fromkeys([*ALWAYS, *folder.about()["axes"]]))
    records = _once(((digest, folder.record(digest)) for digest in folder.done()), draws)
    cells = [{axis: _cell(record, axis) for axis in axes} for _, record in records]
    names = {axis: _names({each[axis] for each in cells if each[axis][1]}) for axis in axes}
    for (digest, record), each in zip(records, cells, strict=True):
        about = {"trial": digest} | {axis: names[axis].get(cell, cell[0]) for axis, cell in each.items()}
        about |= {"n_pruned": record["n_pruned"], "n_heads": record["n_heads"]}
        data = {split["split"]: split["fingerprint"] for split in record["data"]}
        scored = record["scored_on"] and record["scored_on"]["fingerprint"]
        for row in record["rows"]:
            prints = (record["model"]["fingerprint"], data[row["split"]], scored)
            yield (
                about
                | {name: row[name] for name in FOUND}
                | {"headline": row["metric"] == record["headline"]}
                | {name: value and value[:_DIGITS] for name, value in zip(FINGERPRINTS, prints, strict=True)}
            )


def _once(records: Iterator[tuple[str, dict[str, Any]]], draws: Draws) -> list[tuple[str, dict[str, Any]]]:
    """Without those that differ from another in a seed alone that nothing is drawn by; the least seed stays."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for digest, record in records:
        values = record["trial"]["values"]
        about = {
            **values,
            "of": record["model"]["fingerprint"],
            "on": [each["fingerprint"] for each in record["data"]],
        }
        name = digest if draws(values) else canonical(about | {"seed": None})
        if name not in found or values["seed"] < found[name][1]["trial"]["values"]["seed"]:
            found[name] = digest, record
    return sorted(found.values(), key=lambda each: each[0])


def _cell(record: Mapping[str, Any], axis: str) -> tuple[Any, str, str]:
    """What is shown of an option; of texts what was written, which may be the path of what is shown; a fingerprint.

    Shown is what was meant, not what was written: no estimator where the criterion has none, heads as such. Lists are
    text, so that a column has one type.
    """
    written = record["trial"]["values"][axis]
    meant = {**record["trial"]["values"], **record["configuration"], "model": record["model"]["name"]}[axis]
    shown = ", ".join(map(str, meant)) if isinstance(meant, list) else meant
    path = PurePath(written).as_posix() if isinstance(written, str) and isinstance(meant, str) else ""
    return shown, path, record["model"]["fingerprint"] if axis == "model" else ""


def _names(cells: Collection[tuple[Any, str, str]]) -> dict[tuple[Any, str, str], str]:
    """A name for each of these that no other has: the shortest end of its path, and a fingerprint where paths agree."""
    names = {cell[:2]: str(cell[0]) for cell in cells}
    for n in range(1, 1 + max((len(PurePath(path).parts) for _, path in names), default=0)):
        used = Counter(names.values())
        names = {
            key: PurePath(*PurePath(key[1]).parts[-n:]).as_posix() if used[name] > 1 else name
            for key, name in names.items()
        }
    there = Counter(cell[:2] for cell in cells)
    return {
        cell: f"{names[cell[:2]]} ({cell[2][:_DIGITS]})" if there[cell[:2]] > 1 else names[cell[:2]]
        for cell in cells
    }


def varying(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Of these columns, those that hold more than one value."""
    return [name for name in names if len({row.get(name) for row in rows}) > 1]
