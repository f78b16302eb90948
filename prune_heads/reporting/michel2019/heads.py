"""Tables 1, 2, 3, 5 and 6, figures 1 and 2: what each head matters, and what one that is kept alone can do."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from prune_heads.paper import published
from prune_heads.reporting.ablation import head_rows
from prune_heads.reporting.figures.heads import ablation_histogram, ablation_scatter
from prune_heads.reporting.michel2019 import shown
from prune_heads.reporting.michel2019.shown import Record, Records, Row, Shown, is_translation, marked, subject_of
from prune_heads.reporting.words import layer_names, metric_name
from prune_heads.statistics import correlate
from prune_heads.tables import INTERVAL, MARKED, POINTS, Table, number

_TWO = number(2)
_OF_ENCODER = " of the encoder's self-attention"


def _heads(record: Record, table: Mapping[str, Any]) -> list[Row]:
    """The heads that were masked; of a translation, those of the encoder's self-attention."""
    return list(head_rows(table, "E:" if is_translation(record) else ""))


def table1(records: Records) -> Shown:
    """The difference that masking each head of the encoder's self-attention makes; published rows below ours."""
    (record,) = records["without-one"]
    table, theirs = record["tables"][0], published()["table1"]
    alpha = table["alpha"]
    cells = [
        ("here", int(row["layer"][2:]), row["head"], marked(100 * row["delta"], row["p_value"] < alpha))
        for row in _heads(record, table)
    ]
    cells += [
        ("published", layer, head, marked(delta, [layer, head] in theirs["significant"]))
        for layer, row in enumerate(theirs["delta"], start=1)
        for head, delta in enumerate(row, start=1)
    ]
    forms = {str(head): MARKED for head in range(1, 1 + max(head for _, _, head, _ in cells))}
    rows: dict[tuple[str, int], Row] = {}
    for source, layer, head, cell in cells:
        rows.setdefault((source, layer), {"source": source, "layer": layer, **dict.fromkeys(forms)})[str(head)] = cell
    marks = {source: [cell.mark for each, _, _, cell in cells if each == source] for source in ("here", "published")}
    counts = ", ".join(f"{of.count(shown.SURE)} of {len(of)} {source}" for source, of in marks.items())
    notes = (
        f"Difference in BLEU, points, when one head{_OF_ENCODER} is masked; layers down, heads across; on "
        f"{table['n_examples']} examples of {table['split']} (without a mask: {100 * table['base']:.2f}). "
        f"Published: {theirs['of']}.",
        f"{shown.SURE}: p < {alpha:g} ({table['test']}), without a correction for many heads as in the paper: "
        f"{counts}.",
    )
    title = "Table 1: each head of the encoder masked alone"
    return Shown(shown.table_of(title, [record], rows.values(), forms, notes))


def figure1(records: Records) -> Shown:
    """How many heads leave which metric when each is masked alone; of a translation, those of table 1."""
    every, rows = records["without-one"], []
    for record in every:
        for table in record["tables"]:
            heads = _heads(record, table)
            sure = [row["delta"] for row in heads if row["p_value"] < table["alpha"]]
            rows.append(
                {
                    "subject": subject_of(record),
                    "split": table["split"].removeprefix("validation_"),
                    "metric": metric_name(record),
                    "whole": 100 * table["base"],
                    "heads": len(heads),
                    "worse without (p < 0.01)": sum(delta < 0 for delta in sure),
                    "better without (p < 0.01)": sum(delta > 0 for delta in sure),
                    "largest loss, points": 100 * min(row["delta"] for row in heads),
                }
            )
    theirs = published()["table1"]
    notes = [
        f"No correction for many heads, as in the paper. It reports {len(theirs['significant'])} of "
        f"{sum(map(len, theirs['delta']))} encoder heads of its translation model as significant (table 1), and gives "
        "no numbers for the histogram of BERT.",
        *([f"Of a translation: heads{_OF_ENCODER}."] if any(map(is_translation, every)) else []),
    ]
    forms = {"whole": _TWO, "largest loss, points": _TWO}
    table = shown.table_of("Figure 1: each head masked alone", every, rows, forms, notes)
    drawn = {end: ablation_histogram(each, of_encoder=is_translation(each)) for end, each in shown.panels(every)}
    return Shown(table, drawn)


def figure2(records: Records) -> Shown:
    """The differences on two splits against each other; of a translation also those of the encoder's heads alone."""
    every, rows, models = records["without-one"], [], []
    forms = {"published r": _TWO, "here": _TWO, "95% interval": INTERVAL, "here - published": _TWO}
    forms["its 95% interval"] = INTERVAL
    for record in every:
        theirs = published()["figure2"]["translations" if is_translation(record) else "classifiers"]
        before, tables = theirs["r"], {table["split"]: table for table in record["tables"]}
        models.append(theirs["of"])
        for pair in record["correlations"]:
            found, sides = {"all": pair["pearson"]}, (pair["first"], pair["second"])
            if is_translation(record):
                deltas = ([row["delta"] for row in _heads(record, tables[side])] for side in sides)
                found["E"] = correlate(*deltas)["pearson"]
            first, second = (side.removeprefix("validation_") for side in sides)
            for heads, r in found.items():
                row: Row = {"subject": subject_of(record), "first": first, "second": second, "heads": heads}
                row |= dict.fromkeys(forms) | {"published r": before}
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
    table = shown.table_of("Figure 2: do heads matter alike on two data sets", every, rows, forms, notes)
    return Shown(table, {end: ablation_scatter(record) for end, record in shown.panels(every)})


class _Ours(NamedTuple):
    """What a subject's record says: the best head of each layer, and how they were chosen."""

    record: Record
    table: Mapping[str, Any]
    best: list[Row]
    how: str


def kept_alone(name: str, records: Records) -> Shown:
    """`table2` of a translation and `table3` of a classifier: heads chosen on the very split they are measured on.

    `table5` and `table6` are the same with heads that were chosen on other examples. Published and own rows stand side
    by side, kind by kind; of several subjects, beside those of the same task.
    """
    theirs = published()[name]
    every = [_ours(record, chosen_here=name in ("table2", "table3")) for record in records["only-one"]]
    rows = [row for ours in every for row in _beside(theirs, ours, is_alone=len(every) == 1)]
    forms = {"published": MARKED if "significant" in theirs else POINTS, "here": MARKED, "95% interval": INTERVAL}
    forms |= {"here - published": POINTS, "its 95% interval": INTERVAL}
    title, subjects = f"Table {name[-1]}: one head kept alone in its layer", [ours.record for ours in every]
    table = shown.table_of(title, subjects, rows, forms, _notes(theirs, every, rows))
    if len(every) == 1:
        return Shown(table)
    summary = []
    for record, measured, best, _ in every:
        worse = [row for row in best if row["delta"] < 0 and row["p_value"] < measured["alpha"]]
        place = {"subject": subject_of(record), "metric": metric_name(record), "examples": measured["n_examples"]}
        losses = {"layers": len(best), "of them worse with one head (p < 0.01)": len(worse)}
        summary.append({**place, **losses, "largest difference, points": 100 * min(row["delta"] for row in best)})
    return Shown(table, summary=Table.of("", summary, {"largest difference, points": POINTS}))


def _ours(record: Record, *, chosen_here: bool) -> _Ours:
    """The heads that the very split of the table would choose, or those that were chosen when the record was made.

    A translation is then measured on its last split.
    """
    table = record["tables"][-1 if is_translation(record) and not chosen_here else 0]
    best, first = table["best"], table["best"][0]
    if not chosen_here:
        return _Ours(record, table, best, f"chosen on {first['chosen_examples']} examples of {first['chosen_on']}")
    layers = {name: i for i, name in enumerate(layer_names(table))}
    found = []
    for row in best:
        at, head = layers[str(row["layer"])], row["best_here"]["head"]
        cells = {key: table[key][at][head - 1] for key in ("low", "high", "p_value")}
        found.append({"layer": row["layer"], **row["best_here"], **cells})
    return _Ours(record, table, found, f"chosen on {table['split']} itself")


def _beside(theirs: Mapping[str, Any], ours: _Ours, *, is_alone: bool) -> Iterator[Row]:
    """A row a layer of each kind; the difference between them only where the models have as many layers."""
    is_same = ours.record["task"] == theirs["task"]
    published_here = theirs["delta"] if is_alone or is_same else {}
    kinds: dict[str, dict[int, Row]] = {kind: {} for kind in published_here}
    for kept in ours.best:
        kind, _, number = str(kept["layer"]).rpartition(":")
        kinds.setdefault(kind, {})[int(number)] = kept
    columns = ("head", "here", "95% interval", "here - published", "its 95% interval")
    for kind, by_layer in kinds.items():
        there = dict(enumerate(published_here.get(kind, ()), start=1))
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


def _notes(theirs: Mapping[str, Any], every: list[_Ours], rows: list[Row]) -> Iterator[str]:
    for record, table, _, how in every:
        whose = f"{subject_of(record)}: d" if len(every) > 1 else "D"
        yield (
            f"{whose}ifference in {metric_name(record)}, points, on {table['n_examples']} examples of {table['split']} "
            f"(without a mask: {100 * table['base']:.2f}); the head was {how}."
        )
    yield f"Published: {theirs['of']}."
    if "blocks" in rows[0]:
        yield (
            "Blocks: E, the encoder's self-attention; A, the decoder's attention to the encoder; D, the decoder's "
            "self-attention."
        )
    tests = " or ".join(dict.fromkeys(ours.table["test"] for ours in every))
    unknown = "" if "significant" in theirs else "; of the published ones it is not known"
    yield f"{shown.SURE}: p < {every[0].table['alpha']:g} ({tests}){unknown}."
    if not any(ours.record["task"] == theirs["task"] for ours in every):
        yield "The published numbers are of another task, so they are not subtracted."
    elif any(row["published"] is not None and row["here - published"] is None for row in rows):
        yield "The models have different numbers of layers, so rows are not the same layer and are not subtracted."
