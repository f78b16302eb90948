"""Words that all reports share, from one record; and a table of heads."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from prune_heads.descriptors import HeadCounts
from prune_heads.tables import Form, Table

Record = Mapping[str, Any]  # or a report
Row = dict[str, Any]  # name of a column -> its value


def layer_names(report: Record) -> list[str]:
    """What people call each block of a report's `blocks`: `3`, or `E:3` in an encoder-decoder."""
    return HeadCounts.described(report["blocks"]).names()


def metric_name(record: Record) -> str:
    """The headline metric as people write it."""
    headline = str(record["headline"])
    return "BLEU" if headline == "bleu" else headline.replace("_", " ")


def data_name(task: str, split: str) -> str:
    """What was measured on: rows of a notebook have no name of a task or a split."""
    return "own data" if task == split else f"{task} {split}"


def subject_of(record: Record) -> str:
    """Whose numbers they are: `minilm-mnli on mnli`."""
    return f"{record['model']['name']} on {record['task']}"


def whose(record: Record) -> str:
    """The same without the owner of the model."""
    return subject_of(record).rpartition("/")[2]


def share(record: Record) -> str:
    """How many heads are pruned, e.g. `36 of 72 heads zeroed`."""
    return f"{record['n_pruned']} of {record['n_heads']} heads {'removed' if record['mode'] == 'remove' else 'zeroed'}"


def interval(correlation: Record, name: str, words: str = "95% interval ") -> str:
    """One of the two correlations that `correlate` gives of a pair, its interval after `words`, or why it has none."""
    found = correlation[name]
    if found["value"] is None:
        return f"undefined ({'fewer than four heads' if correlation['n_heads'] < 4 else 'one side is constant'})"
    return f"{found['value']:.2f} ({words}{found['low']:.2f} to {found['high']:.2f})"


def heads_table(
    title: str, report: Record, rows: Sequence[Sequence[Any]], form: Form, notes: Iterable[str], **looks: Any
) -> Table:
    """Layers of a report down, heads across, as the paper's table 1; a layer of which nothing is known is left out.

    Rows hold a value or `Cell` a head, None for one that is gone or was not measured.
    """
    heads = [str(head + 1) for head in range(max(map(len, rows)))]
    known = (
        {"layer": name} | dict(zip_longest(heads, row))
        for name, row in zip(layer_names(report), rows, strict=True)
        if any(cell is not None for cell in row)
    )
    return Table.of(title, known, dict.fromkeys(heads, form), notes, **looks)
