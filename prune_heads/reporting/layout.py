"""What the tables of the terminal share: how a title and a plain table look."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from prune_heads.descriptors import HeadCounts


def layer_names(report: Mapping[str, Any]) -> list[str]:
    """What people call each block of a report's `blocks`: `3`, or `E:3` in an encoder-decoder."""
    return HeadCounts.described(report["blocks"]).names()


def metric_name(record: Mapping[str, Any]) -> str:
    """The headline metric as people write it."""
    headline = str(record["headline"])
    return "BLEU" if headline == "bleu" else headline.replace("_", " ")


def titled(title: str) -> Text:
    """A title of its own: Rich would wrap a table's title at the width of the table."""
    return Text(title, style="bold")


def plain_table(left: Sequence[str], right: Sequence[str]) -> Table:
    """Columns of words, then columns of numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
