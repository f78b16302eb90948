"""Words that all reports share, from one record."""

from collections.abc import Mapping
from typing import Any

from prune_heads.descriptors import HeadCounts


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
