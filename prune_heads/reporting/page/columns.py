"""Columns: a number, or a word, for each head. The page draws whatever is one, and knows none by its name.

A column is `{"name", "title", "values", "errors", "low", "high", "p_adjusted", "alpha", "unit", "better", "kind",
"group", "split", "note"}`. `values` has one row a block and one cell a head, in the original numbering, None where
nothing was measured; `errors`, `low`, `high` and `p_adjusted` have the same form, or are None. `kind` is `number` or
`category`; `better`, `high`, `low` or None, says where a head stands that matters more. Records may hold `columns`;
those of older studies are made here from what they hold.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from math import isclose
from typing import Any

from prune_heads.descriptors import HeadCounts
from prune_heads.reporting.ablation import KINDS, in_points, response_of
from prune_heads.reporting.curves import lines
from prune_heads.reporting.page.runs import Run
from prune_heads.reporting.words import Record, metric_title, scores_of, split_title

Column = dict[str, Any]

_GRIDS = ("values", "errors", "low", "high", "p_adjusted")
_WORDS = ("name", "title", "unit", "group", "note")
_PLAIN: Column = {
    **dict.fromkeys((*_GRIDS, "alpha", "better", "split")),
    **{"unit": "", "kind": "number", "group": "other", "note": ""},
}
_KINDS = {"without-one": "without the head", "only-one": "with the head alone in its layer"}


def columns(runs: Sequence[Run], counts: HeadCounts) -> list[Column]:
    """All columns of all runs, each once, with its `task` and the `source` it is from.

    A `RunError` if a record is damaged, or its columns do not have the heads of the model.
    """
    found: list[Column] = []
    for run in runs:
        with run.reading() as record:
            for column in _of(run):
                made = {**_PLAIN, **column, "task": record.get("task"), "source": run.source}
                _check(made, counts)
                if not any(_alike(each, made) for each in found):
                    found.append(made)
    return found


def _alike(one: Column, other: Column) -> bool:
    """Whether they are the same numbers, but for the last digits, which differ between processors."""
    return all(one[key] == other[key] for key in ("group", "kind", "title")) and all(
        a == b or (None not in (a, b) and one["kind"] == "number" and isclose(a, b, rel_tol=1e-4))
        for a, b in zip(chain(*one["values"]), chain(*other["values"]), strict=True)
    )


def _check(column: Column, counts: HeadCounts) -> None:
    if not all(isinstance(column[name], str) for name in _WORDS):
        raise ValueError(f"{', '.join(_WORDS)} of a column must be texts")
    for name in _GRIDS:
        rows = column[name]
        if rows is not None and [len(row) for row in rows] != list(counts):
            raise ValueError(f"{name} of {column['name']} must have {list(counts)} heads a layer")
        kinds = str if name == "values" and column["kind"] == "category" else int | float
        if not all(cell is None or isinstance(cell, kinds) for row in rows or () for cell in row):
            raise ValueError(f"{name} of {column['name']} must be {'texts' if kinds is str else 'numbers'}")


def _of(run: Run) -> Iterator[Column]:
    record = run.record
    yield from record.get("columns") or ()
    if scores := run.files.get("scores"):
        yield _importance(scores)
    for table in record.get("tables") or () if run.command == "ablate" else ():
        yield _effect(table, metric_title(table["metric"]), "points", 100, table)
        if of := response_of(table):
            name, unit, found = of
            yield _effect(table, name.removesuffix(" of the right answer"), unit, 1, found)
    for line in next(iter(lines(record).values()), ()) if run.command == "curve" else ():
        if line.about.get("scores"):
            about = {"title": f"importance: {line.label}", "values": line.about["scores"], "better": "high"}
            said = {"split": line.about["scored_on"], "note": "Before any head is pruned; higher is more important."}
            yield {"name": f"score {line.label}", "group": "importance", **about, **said}
    for text in record.get("texts") or ():
        title = f"effect on “{text['text'][:40]}{'…' if len(text['text']) > 40 else ''}”"
        note = f"Change of the {text['measure']} of the answer to this text when the head is closed."
        about = {"name": title, "title": title, "values": text["effects"], "group": "effect", "better": "low"}
        yield {**about, "unit": "nats" if text["measure"] == "log-likelihood" else "", "note": note}


def _importance(scores: Record) -> Column:
    """Of a scores.json."""
    how = ", ".join(word for word in (scores["estimator"], scores["normalize"]) if word not in (None, "none"))
    name = scores["criterion"] + (f" ({how})" if how else "")
    on = f"Scored on {scores['n_examples']:,} examples of {scores['split']}" if scores["split"] else "No data needed"
    rows = HeadCounts.described(scores["blocks"]).rows(scores_of(scores))
    about = {"name": f"score {name}", "title": f"importance: {name}", "note": f"{on}; higher is more important."}
    made = {"values": rows, "errors": scores["standard_error"], "split": scores["split"]}
    return {**about, **made, "better": "high", "group": "importance"}


def _effect(table: Record, name: str, unit: str, scale: float, of: Record) -> Column:
    """Of an ablation: the difference in the metric, or in the response beside it."""
    kind, alpha = table["kind"], table["alpha"]
    grids = {
        grid: [[None if x is None else scale * x for x in row] for row in of[key]]
        for grid, key in {"values": "delta", "low": "low", "high": "high"}.items()
    }
    what = in_points(kind, table["metric"]) if of is table else KINDS[kind]
    what += ", that of the right answer" if unit == "nats" else ""
    names = {"name": f"{kind} {name} {table['split']}", "title": f"{name} {_KINDS[kind]}"}
    about = {"unit": unit, "better": "low" if kind == "without-one" else "high", "group": "effect"}
    note = f"{split_title(table['split'])}, {table['n_examples']:,} examples: {what}; base {of['base']:.4f}. "
    note += f"Marked where p < {alpha:g} after Holm's correction ({of['test']} test)."
    tested = {"p_adjusted": of["p_adjusted"]["holm"], "alpha": alpha}
    return {**names, **grids, **tested, **about, "split": table["split"], "note": note}
