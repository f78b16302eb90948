"""Words that all reports share, from one record; and a table of heads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prune_heads.descriptors import HeadCounts
from prune_heads.tables import Column, Form, Table


def layer_names(report: Mapping[str, Any]) -> list[str]:
    """What people call each block of a report's `blocks`: `3`, or `E:3` in an encoder-decoder."""
    return HeadCounts.described(report["blocks"]).names()


def metric_name(record: Mapping[str, Any]) -> str:
    """The headline metric as people write it."""
    headline = str(record["headline"])
    return "BLEU" if headline == "bleu" else headline.replace("_", " ")


def whose(record: Mapping[str, Any]) -> str:
    """Whose numbers they are, without the owner of the model: `minilm-mnli on mnli`."""
    return f"{record['model']['name'].rpartition('/')[2]} on {record['task']}"


def share(record: Mapping[str, Any]) -> str:
    """How many heads are pruned, e.g. `36 of 72 heads zeroed`."""
    verb = "removed" if record["mode"] == "remove" else "zeroed"
    return f"{record['n_pruned']} of {record['n_heads']} heads {verb}"


def sentence(words: str) -> str:
    """Words as a sentence of a text."""
    return f"{words[0].upper()}{words[1:]}."


def interval(correlation: Mapping[str, Any], name: str, words: str = "95% interval ") -> str:
    """One of the two correlations of a pair, with its interval, or why there is none.

    Args:
        correlation: What `correlate` gives, or more.
        name: `pearson` or `spearman`.
        words: Before the interval; none where a heading says it.
    """
    found = correlation[name]
    if found["value"] is None:
        few = correlation["n_heads"] < 4
        return f"undefined ({'fewer than four heads' if few else 'one side is constant'})"
    return f"{found['value']:.2f} ({words}{found['low']:.2f} to {found['high']:.2f})"


def heads_table(
    title: str, names: Iterable[str], rows: Sequence[Sequence[Any]], form: Form, notes: Iterable[str], **looks: Any
) -> Table:
    """Layers down, heads across, as the paper's table 1; layers of which nothing is known are left out.

    Args:
        title: Of the table.
        names: Of the layers.
        rows: A value or `Cell` a head; None for a head that is gone or was not measured.
        form: Of the values.
        notes: Sentences.
        **looks: Other fields of the table.
    """
    width = max(map(len, rows))
    columns = (Column("layer"), *(Column(str(head + 1), form, "right") for head in range(width)))
    known = [(name, row) for name, row in zip(names, rows, strict=True) if any(cell is not None for cell in row)]
    body = tuple((name, *row, *[None] * (width - len(row))) for name, row in known)
    return Table(title, columns, body, tuple(notes), **looks)
