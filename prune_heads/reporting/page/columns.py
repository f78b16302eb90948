"""Columns: a number, or a word, for each head. The page draws whatever is one, and knows none by its name.

A column is `{"name", "title", "values", "errors", "low", "high", "p_adjusted", "alpha", "unit", "better", "kind",
"group", "split", "note"}`. `values` has one row a block and one cell a head, in the original numbering, None where
nothing was measured; `errors`, `low`, `high` and `p_adjusted` have the same form, or are None. `kind` is `number` or
`category`, `better` is `high`, `low` or None: where a head that matters more stands. Records may hold `columns`; those
of older studies are made here from what they hold.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.ablation import KINDS, in_points
from prune_heads.reporting.curves import lines
from prune_heads.reporting.page.runs import Run
from prune_heads.reporting.words import Record, data_name

Column = dict[str, Any]
Rows = Sequence[Sequence[Any]]

_PLAIN: Column = {
    **dict.fromkeys(("errors", "low", "high", "p_adjusted", "alpha", "better", "split")),
    **{"unit": "", "kind": "number", "group": "other", "note": ""},
}
_GRIDS = ("values", "errors", "low", "high", "p_adjusted")
_KINDS = {"without-one": "without the head", "only-one": "with the head alone in its layer"}


def columns(runs: Sequence[Run], counts: HeadCounts) -> list[Column]:
    """All columns of all runs, each once, with its `task` and the `source` it is from.

    Raises:
        RunError: If a record is damaged, or its columns do not have the heads of the model.
    """
    found: list[Column] = []
    for run in runs:
        try:
            for column in _of(run):
                made = {**_PLAIN, **column, "task": run.record.get("task"), "source": run.source}
                _check(made, counts)
                if not any(each["group"] == made["group"] and each["values"] == made["values"] for each in found):
                    found.append(made)
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise run.damaged(fault) from fault
    return found


def _check(column: Column, counts: HeadCounts) -> None:
    for name in _GRIDS:
        grid = column[name]
        if grid is not None and [len(row) for row in grid] != list(counts):
            raise ValueError(f"{name} of {column['name']} must have {list(counts)} heads a layer")
        kinds = (str,) if name == "values" and column["kind"] == "category" else (int, float)
        if not all(cell is None or isinstance(cell, kinds) for row in grid or () for cell in row):
            raise ValueError(f"{name} of {column['name']} must be {'texts' if kinds == (str,) else 'numbers'}")


def _of(run: Run) -> Iterator[Column]:
    record = run.record
    yield from record.get("columns") or ()
    if scores := run.files.get("scores"):
        yield _importance(scores)
    for table in record.get("tables") or () if run.command == "ablate" else ():
        if table["kind"] in KINDS:
            yield from _effects(table)
    for line in next(iter(lines(record).values()), ()) if run.command == "curve" else ():
        if line.about.get("scores"):
            blocks = record.get("configuration", {}).get("blocks")
            note = "Before any head is pruned; higher is more important."
            about = {"title": f"importance: {line.label}", "split": line.about["scored_on"], "note": note}
            yield {"name": f"score {line.label}", "values": line.about["scores"], "group": "importance", **about} | (
                {"better": "high"} if blocks is None else {"better": "high", "note": f"{note} Blocks: {blocks}."}
            )
    for text in record.get("texts") or ():
        if text.get("effects"):
            said = " ".join(text.get("texts") or text["tokens"])
            title = f"effect on “{said[:40]}{'…' if len(said) > 40 else ''}”"
            note = "Change of the log-likelihood of the answer to this text when the head is closed."
            yield {"name": title, "title": title, "values": text["effects"], "group": "effect", "unit": "nats"} | {
                "better": "low",
                "note": note,
            }


def _importance(scores: Record) -> Column:
    """Of a scores.json."""
    how = [word for word in (scores["estimator"], scores["normalize"]) if word not in (None, "none")]
    name = scores["criterion"] + (f" ({', '.join(how)})" if how else "")
    on = f"Scored on {scores['n_examples']:,} examples of {scores['split']}" if scores["split"] else "No data needed"
    gone = HeadMask.from_json(scores["gone"]).pruned if "gone" in scores else ()

    def grid(rows: Rows | None) -> Rows | None:
        return rows and [[None if (i, j) in gone else x for j, x in enumerate(row)] for i, row in enumerate(rows)]

    return {
        "name": f"score {name}",
        "title": f"importance: {name}",
        "values": grid(scores["scores"]),
        "errors": grid(scores["standard_error"]),
        "better": "high",
        "group": "importance",
        "split": scores["split"],
        "note": f"{on}; higher is more important.",
    }


def _effects(table: Record) -> Iterator[Column]:
    """Of an ablation: the difference in the metric, and in the log-likelihood of the right answer if it is there."""
    kind, metric = table["kind"], table["metric"].replace("_", " ")
    about = {"alpha": table["alpha"], "group": "effect", "split": table["split"]}
    about["better"] = "low" if kind == "without-one" else "high"
    found: list[tuple[str, str, float, Record, str]] = [
        (metric, "points", 100, table, in_points(kind, table["metric"]))
    ]
    if likelihood := table.get("likelihood"):
        what = f"{KINDS[kind]}, mean change of the log-likelihood of the right answer"
        found.append(("log-likelihood", "nats", 1, likelihood, what))
    for name, unit, scale, of, note in found:

        def grid(rows: Rows | None, scale: float = scale) -> Rows | None:
            return rows and [[None if x is None else scale * x for x in row] for row in rows]

        yield {
            "name": f"{kind} {name} {table['split']}",
            "title": f"{name} {_KINDS[kind]}",
            "values": grid(of["delta"]),
            **{end: grid(of.get(end)) for end in ("low", "high")},
            "p_adjusted": of["p_adjusted"]["holm"],
            "unit": unit,
            "note": f"{data_name('', table['split']).strip().replace('_', ' ')}: {note}; base {of['base']:.4f}, "
            f"{table['n_examples']:,} examples. Marked where p < {table['alpha']:g} after Holm's correction "
            f"({of['test']} test).",
            **about,
        }
