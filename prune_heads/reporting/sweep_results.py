"""What came out of a sweep as a long-form table: a row a trial, split and metric."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prune_heads.execution.folder import SweepFolder

ALWAYS = ("model", "task")
"""Options that stand in the table though they do not vary."""
FOUND = ("split", "metric", "n_examples", "base", "pruned", "difference", "low", "high")
Row = dict[str, Any]


def result_rows(folder: SweepFolder) -> Iterator[Row]:
    """The rows of the trials that are done, in the order of their digests.

    Columns: the trial's digest; model, task and what varies; heads pruned of all; split, metric, examples; the metric
    before and after, their difference and its 95% interval.

    Raises:
        RunError: If a record is damaged; names it.
    """
    axes = tuple(dict.fromkeys([*ALWAYS, *folder.about()["axes"]]))
    for digest in folder.done():
        record = folder.record(digest)
        # What was meant, not what was written: folders by name, no estimator where the criterion has none.
        values = {**record["trial"]["values"], **record["configuration"], "model": record["model"]["name"]}
        about = {"trial": digest, **{axis: _cell(values[axis]) for axis in axes}}
        about |= {"n_pruned": record["n_pruned"], "n_heads": record["n_heads"]}
        for row in record["rows"]:
            yield (
                about
                | {name: row[name] for name in FOUND}
                | {"headline": row["metric"] == record["headline"]}
            )


def _cell(value: Any) -> Any:
    """Lists as text, so that a column has one type."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def varying(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Of these columns, those that hold more than one value."""
    return [name for name in names if len({row[name] for row in rows}) > 1]
