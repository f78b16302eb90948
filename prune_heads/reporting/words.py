"""Words that all reports share, from one record; and a table of heads."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from math import inf
from typing import Any

from prune_heads.descriptors import Head, HeadCounts
from prune_heads.objectives import METRIC_NAMES
from prune_heads.tables import Form, Table

Record = Mapping[str, Any]  # or a report
Row = dict[str, Any]  # name of a column -> its value

ATTENTION = {"E": "encoder self-attention", "A": "encoder-decoder attention", "D": "decoder self-attention"}
"""Letter of a kind of blocks -> what people call it."""

_TASKS = {"cola": "CoLA", "sst2": "SST-2", "stsb": "STS-B", "wmt14-en-fr": "WMT14 En-Fr"}
_TASKS |= {task: task.upper() for task in ("mrpc", "qqp", "mnli", "qnli", "rte", "wnli")}
_METRICS = {"matthews_correlation": "Matthews correlation", "bleu": "BLEU", "log_likelihood": "log-likelihood"}
_METRICS |= {"pearson": "Pearson correlation", "spearmanr": "Spearman correlation", "f1": "F1"}
_METRICS |= {f"{which}_f1": f"{which} F1" for which in ("micro", "macro", "entity")}


_RANGES = dict.fromkeys(chain(*METRIC_NAMES.values()), (0.0, 1.0))  # those of one's own may have any
_RANGES |= dict.fromkeys(("matthews_correlation", "pearson", "spearmanr"), (-1.0, 1.0))
_RANGES |= {"log_likelihood": (-inf, 0.0), "perplexity": (1.0, inf)}


def layer_names(report: Record) -> list[str]:
    """What people call each block of a report's `blocks`: `3`, or `E:3` in an encoder-decoder."""
    return HeadCounts.described(report["blocks"]).names()


def metric_title(metric: str) -> str:
    """A metric's name as people write it: `Matthews correlation`, where records have `matthews_correlation`."""
    return _METRICS.get(metric, metric.replace("_", " "))


def metric_name(record: Record) -> str:
    """That of the headline metric."""
    return metric_title(str(record["headline"]))


def task_title(task: str) -> str:
    """A task's name in figures and on pages: `SST-2`."""
    return _TASKS.get(task, task)


def number_of(record: Record, split: str) -> int | None:
    """How many examples of a split were measured on; None if the record does not say."""
    return next((data["n_examples"] for data in record.get("data", ()) if data["split"] == split), None)


def split_title(split: str) -> str:
    """A split's name in figures and on pages: `matched`."""
    return split.removeprefix("validation_").replace("_", " ")


def with_number(split: str, n: int | None) -> str:
    """What was measured on: `matched, n = 9,815`."""
    return split_title(split) if n is None else f"{split_title(split)}, n = {n:,}"


def data_name(task: str, split: str) -> str:
    """What was measured on: rows of a notebook have no name of a task or a split."""
    return "own data" if task == split else f"{task} {split}"


def subject_of(record: Record) -> str:
    """Whose numbers they are: `minilm-mnli on mnli`, and what stands in for masked heads, if anything."""
    return f"{record['model']['name']} on {record['task']}{stand_in(record)}"


def stand_in(record: Record) -> str:
    """What stands in for masked heads, as titles end with it; empty for nothing."""
    replaced = record.get("configuration", {}).get("replace")
    return f" (--replace {replaced})" if replaced else ""


def whose(record: Record) -> str:
    """The same in figures, without the owner of the model: `minilm-mnli on MNLI`."""
    return f"{record['model']['name'].rpartition('/')[2]} on {task_title(record['task'])}"


def share(record: Record) -> str:
    """How many heads are pruned, e.g. `36 of 72 heads zeroed`."""
    return f"{record['n_pruned']} of {record['n_heads']} heads {'removed' if record['mode'] == 'remove' else 'zeroed'}"


def interval(correlation: Record, name: str, words: str = "95% interval ") -> str:
    """One of the two correlations that `correlate` gives of a pair, its interval after `words`, or why it has none."""
    found = correlation[name]
    if found["value"] is None:
        return f"undefined ({'fewer than four heads' if correlation['n_heads'] < 4 else 'one side is constant'})"
    return estimate(found, words)


def estimate(found: Record, words: str = "", form: str = ".2f") -> str:
    """A number with its interval after `words`, `0.12 (0.01 to 0.23)`; without one where it has none."""
    ends = "" if found["low"] is None else f" ({words}{found['low']:{form}} to {found['high']:{form}})"
    return "undefined" if found["value"] is None else f"{found['value']:{form}}{ends}"


def within(metric: str, found: Record) -> Record:
    """A mean of a metric, or an area, whose interval ends where the metric does.

    Those of a bootstrap do so by themselves, and one of a t distribution may go on. No mean lies there, so that what is
    left holds as often.
    """
    least, most = _RANGES.get(metric, (-inf, inf))
    return {**found, "low": max(found["low"], least), "high": min(found["high"], most)}


def scores_of(report: Record) -> dict[Head, float]:
    """The scores of `prune-heads score --json` by (block, head), from 0; none of a head that is gone."""
    from prune_heads.heads import HeadMask  # imports NumPy, for which --help does not wait

    counts = HeadCounts.described(report["blocks"])
    gone = HeadMask.from_json(report["gone"]) if "gone" in report else HeadMask(counts)
    return {(block, head): report["scores"][block][head] for block, head in ~gone}


def scale_of(values: Iterable[float]) -> tuple[float, int]:
    """A power of ten to divide by, and the digits after the point that show the largest value as 9.99, 99.9 or so."""
    largest = max(map(abs, values), default=0.0)
    exponent = int(f"{largest:e}".partition("e")[2]) if largest else 0
    return (1.0, 2 - exponent) if 0 <= exponent < 3 else (10.0**exponent, 2)


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
