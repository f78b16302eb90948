"""Tables 1, 2, 3, 5 and 6, figures 1 and 2: what each head matters, and what one that is kept alone can do."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from prune_heads.paper import published
from prune_heads.reporting.figures.heads import ablation_histogram, ablation_scatter
from prune_heads.reporting.michel2019.shown import (
    SURE,
    Record,
    Records,
    Row,
    Shown,
    is_translation,
    marked,
    panels,
    subject_of,
    table_of,
)
from prune_heads.reporting.words import layer_names, metric_name
from prune_heads.statistics import correlate
from prune_heads.tables import INTERVAL, MARKED, POINTS, Cell, Table, number

_TWO = number(2)
_OF_ENCODER = " of the encoder's self-attention"


def table1(records: Records) -> Shown:
    """The difference that masking each head of the encoder's self-attention makes; published rows below ours."""
    (record,) = records["without-one"]
    table = _encoder(record)["tables"][0]
    theirs = published()["table1"]
    significant = {(layer, head) for layer, head in theirs["significant"]}
    grids: dict[str, list[list[Cell | None]]] = {
        "here": [
            [None if delta is None else marked(100 * delta, p < table["alpha"]) for delta, p in zip(*row, strict=True)]
            for row in zip(table["delta"], table["p_value"], strict=True)
        ],
        "published": [
            [marked(delta, (layer, head) in significant) for head, delta in enumerate(row, start=1)]
            for layer, row in enumerate(theirs["delta"], start=1)
        ],
    }
    rows = [
        {"source": source, "layer": layer} | {str(head): cell for head, cell in enumerate(row, start=1)}
        for source, grid in grids.items()
        for layer, row in enumerate(grid, start=1)
    ]
    marks = {name: [cell.mark for row in grid for cell in row if cell] for name, grid in grids.items()}
    counts = (f"{of.count(SURE)} of {len(of)} {name}" for name, of in marks.items())
    notes = (
        f"Difference in BLEU, points, when one head{_OF_ENCODER} is masked; layers down, heads across; on "
        f"{table['n_examples']} examples of {table['split']} (without a mask: {100 * table['base']:.2f}). "
        "Published: a large Transformer on newstest2013 of WMT14 En-Fr.",
        f"{SURE}: p < {table['alpha']:g} ({table['test']}), without a correction for many heads as in the paper: "
        f"{', '.join(counts)}.",
    )
    forms = {name: MARKED for row in rows for name in row if name.isdecimal()}
    return Shown(table_of("Table 1: each head of the encoder masked alone", [record], rows, forms, notes))


def figure1(records: Records) -> Shown:
    """How many heads leave which metric when each is masked alone; of a translation, those of table 1."""
    every = records["without-one"]
    shown = [_encoder(record) if is_translation(record) else record for record in every]
    rows = []
    for record in shown:
        for table in record["tables"]:
            grids = (table["delta"], table["p_value"])
            found = [pair for row in zip(*grids, strict=True) for pair in zip(*row, strict=True) if pair[0] is not None]
            sure = [delta for delta, p in found if p < table["alpha"]]
            rows.append(
                {
                    "subject": subject_of(record),
                    "split": table["split"].removeprefix("validation_"),
                    "metric": metric_name(record),
                    "whole": 100 * table["base"],
                    "heads": len(found),
                    "worse without (p < 0.01)": sum(delta < 0 for delta in sure),
                    "better without (p < 0.01)": sum(delta > 0 for delta in sure),
                    "largest loss, points": 100 * min(delta for delta, _ in found),
                }
            )
    significant, n = len(published()["table1"]["significant"]), sum(map(len, published()["table1"]["delta"]))
    notes = [
        f"No correction for many heads, as in the paper. It reports {significant} of {n} encoder heads of its "
        "translation model as significant (table 1), and gives no numbers for the histogram of BERT."
    ]
    if any(map(is_translation, every)):
        notes.append(f"Of a translation: heads{_OF_ENCODER}.")
    forms = {"whole": _TWO, "largest loss, points": _TWO}
    table = table_of("Figure 1: each head masked alone", every, rows, forms, notes)
    figures = {
        end: ablation_histogram(record, _OF_ENCODER if is_translation(record) else "") for end, record in panels(shown)
    }
    return Shown(table, figures)


def figure2(records: Records) -> Shown:
    """The differences on two splits against each other; of a translation also those of the encoder's heads alone."""
    every = records["without-one"]
    theirs = published()["figure2"]
    forms = {"published r": _TWO, "here": _TWO, "95% interval": INTERVAL, "here - published": _TWO}
    forms["its 95% interval"] = INTERVAL
    rows, models = [], []
    for record in every:
        there = theirs["translations" if is_translation(record) else "classifiers"]
        before = there["r"]
        models.append(there["of"])
        for pair in record["correlations"]:
            sides = pair["first"], pair["second"]
            place = {"subject": subject_of(record)}
            place |= {
                name: split.removeprefix("validation_") for name, split in zip(("first", "second"), sides, strict=True)
            }
            found = {"all": pair["pearson"]}
            if is_translation(record):
                deltas = {table["split"]: [*chain(*table["delta"])] for table in _encoder(record)["tables"]}
                found["E"] = correlate(*(deltas[side] for side in sides))["pearson"]
            for heads, r in found.items():
                row = {**place, "heads": heads, **dict.fromkeys(forms), "published r": before}
                if r["value"] is not None:
                    row |= {"here": r["value"], "95% interval": (r["low"], r["high"])}
                    row |= {"here - published": r["value"] - before}
                    row |= {"its 95% interval": (r["low"] - before, r["high"] - before)}
                rows.append(row)
    notes = [
        "Pearson's r of the differences that masking each head makes; the interval is that of our heads alone. "
        f"Published: {' and '.join(dict.fromkeys(models))}."
    ]
    if any(map(is_translation, every)):
        notes.append(f"E: heads{_OF_ENCODER} alone. The published r stands beside both.")
    table = table_of("Figure 2: do heads matter alike on two data sets", every, rows, forms, notes)
    return Shown(table, {end: ablation_scatter(record) for end, record in panels(every)})


def _encoder(record: Record) -> Record:
    """The record as if the heads of the encoder's self-attention had been masked alone."""
    tables = []
    for table in record["tables"]:
        places = [i for i, name in enumerate(layer_names(table)) if name.startswith("E:")]
        keys = ("blocks", "value", "delta", "low", "high", "p_value")
        tables.append({**table, **{key: [table[key][i] for i in places] for key in keys}})
    return {**record, "tables": tables}


class _Ours(NamedTuple):
    """What a subject's record says: the best head of each layer, and how they were chosen."""

    record: Record
    table: Mapping[str, Any]
    best: Sequence[Mapping[str, Any]]
    how: str


def kept_alone(name: str, records: Records) -> Shown:
    """`table2` of a translation and `table3` of a classifier: heads chosen on the very split they are measured on.

    `table5` and `table6` are the same with heads that were chosen on other examples. Published and own rows stand side
    by side, kind by kind; of several subjects, beside those of the same task.
    """
    theirs = published()[name]
    every = [
        _chosen_here(record) if name in ("table2", "table3") else _chosen_elsewhere(record)
        for record in records["only-one"]
    ]
    rows = [row for ours in every for row in _beside(theirs, ours, is_alone=len(every) == 1)]
    title = f"Table {name[-1]}: one head kept alone in its layer"
    forms = {"published": MARKED if "significant" in theirs else POINTS, "here": MARKED, "95% interval": INTERVAL}
    forms |= {"here - published": POINTS, "its 95% interval": INTERVAL}
    table = table_of(title, [ours.record for ours in every], rows, forms, _notes(theirs, every, rows))
    summary = (
        {
            "subject": subject_of(ours.record),
            "metric": metric_name(ours.record),
            "examples": ours.table["n_examples"],
            "layers": len(ours.best),
            "of them worse with one head (p < 0.01)": sum(
                row["delta"] < 0 and row["p_value"] < ours.table["alpha"] for row in ours.best
            ),
            "largest difference, points": 100 * min(row["delta"] for row in ours.best),
        }
        for ours in every
    )
    is_long = len(every) > 1
    return Shown(table, summary=Table.of("", summary, {"largest difference, points": POINTS}) if is_long else None)


def _chosen_here(record: Record) -> _Ours:
    """The heads that the very split of the table would choose."""
    table = record["tables"][0]
    names, best = layer_names(table), []
    for row in table["best"]:
        layer, head = names.index(str(row["layer"])), row["best_here"]["head"]
        cells = {key: table[key][layer][head - 1] for key in ("low", "high", "p_value")}
        best.append({"layer": row["layer"], **row["best_here"], **cells})
    return _Ours(record, table, best, f"chosen on {table['split']} itself")


def _chosen_elsewhere(record: Record) -> _Ours:
    """The heads that were chosen when the record was made; a translation is then measured on its last split."""
    table = record["tables"][-1 if is_translation(record) else 0]
    first = table["best"][0]
    how = f"chosen on {first['chosen_examples']} examples of {first['chosen_on']}"
    return _Ours(record, table, table["best"], how)


def _beside(theirs: Mapping[str, Any], ours: _Ours, *, is_alone: bool) -> Iterator[Row]:
    """A row a layer of each kind; the difference between them only where the models have as many layers."""
    is_same = ours.record["task"] == theirs["task"]
    published_here = theirs["delta"] if is_alone or is_same else {}
    kinds: dict[str, dict[int, Mapping[str, Any]]] = {kind: {} for kind in published_here}
    for kept in ours.best:
        kind, _, number = str(kept["layer"]).rpartition(":")
        kinds.setdefault(kind, {})[int(number)] = kept
    columns = ("head", "here", "95% interval", "here - published", "its 95% interval")
    for kind, by_layer in kinds.items():
        deltas = published_here.get(kind, ())
        there = dict(enumerate(deltas, start=1))
        for layer in range(1, max(len(there), *by_layer, 0) + 1):
            before, found = there.get(layer), by_layer.get(layer)
            row = {"subject": subject_of(ours.record), **({"blocks": kind} if kind else {}), "layer": layer}
            row |= {"published": before, **dict.fromkeys(columns)}
            if before is not None and "significant" in theirs:
                row["published"] = marked(before, layer in theirs["significant"][kind])
            if found is not None:
                delta, low, high = (100 * found[key] for key in ("delta", "low", "high"))
                here = marked(delta, found["p_value"] < ours.table["alpha"])
                row |= {"head": found["head"], "here": here, "95% interval": (low, high)}
                if before is not None and is_same and len(there) == len(by_layer):
                    row |= {"here - published": delta - before, "its 95% interval": (low - before, high - before)}
            yield row


def _notes(theirs: Mapping[str, Any], every: Sequence[_Ours], rows: Sequence[Row]) -> Iterator[str]:
    for ours in every:
        whose = f"{subject_of(ours.record)}: d" if len(every) > 1 else "D"
        yield (
            f"{whose}ifference in {metric_name(ours.record)}, points, on {ours.table['n_examples']} examples of "
            f"{ours.table['split']} (without a mask: {100 * ours.table['base']:.2f}); the head was {ours.how}."
        )
    yield f"Published: {theirs['of']}."
    if "blocks" in rows[0]:
        yield (
            "Blocks: E, the encoder's self-attention; A, the decoder's attention to the encoder; D, the decoder's "
            "self-attention."
        )
    tests = " or ".join(dict.fromkeys(ours.table["test"] for ours in every))
    unknown = "" if "significant" in theirs else "; of the published ones it is not known"
    yield f"{SURE}: p < {every[0].table['alpha']:g} ({tests}){unknown}."
    if not any(ours.record["task"] == theirs["task"] for ours in every):
        yield "The published numbers are of another task, so they are not subtracted."
    elif any(row["published"] is not None and row["here - published"] is None for row in rows):
        yield "The models have different numbers of layers, so rows are not the same layer and are not subtracted."
