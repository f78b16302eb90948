"""Tables 1, 2, 3, 5 and 6, figures 1 and 2: what each head matters, and what one that is kept alone can do."""

from collections.abc import Iterator

from prune_heads.paper import published, sheet
from prune_heads.reporting.ablation import head_rows
from prune_heads.reporting.figures.heads import ablation_histogram, ablation_scatter
from prune_heads.reporting.michel2019.shown import SURE, Records, Shown, is_translation, panels, said, table_of
from prune_heads.reporting.words import Record, Row, metric_name, subject_of
from prune_heads.statistics import correlate
from prune_heads.tables import Cell, Table


def _heads(record: Record, table: Record) -> list[Row]:
    """The heads that were masked; of a translation, those of the encoder's self-attention."""
    return list(head_rows(table, "E:" if is_translation(record) else ""))


def table1(records: Records) -> Shown:
    """The difference that masking each head of the encoder's self-attention makes; published rows below ours."""
    (record,) = records["without-one"]
    table, theirs = record["tables"][0], published()["table1"]
    cells = [
        ("here", int(row["layer"][2:]), row["head"], Cell(100 * row["delta"], SURE * (row["p_value"] < table["alpha"])))
        for row in _heads(record, table)
    ]
    cells += [
        ("published", layer, head, Cell(delta, SURE * ([layer, head] in theirs["significant"])))
        for layer, row in enumerate(theirs["delta"], start=1)
        for head, delta in enumerate(row, start=1)
    ]
    forms = {str(head): "+.2f*" for head in range(1, 1 + max(head for _, _, head, _ in cells))}
    rows: dict[tuple[str, int], Row] = {}
    for source, layer, head, cell in cells:
        rows.setdefault((source, layer), {"source": source, "layer": layer, **dict.fromkeys(forms)})[str(head)] = cell
    marks = {source: [cell.mark for each, _, _, cell in cells if each == source] for source in ("here", "published")}
    counts = ", ".join(f"{of.count(SURE)} of {len(of)} {source}" for source, of in marks.items())
    notes = said("table1", table=table, base=100 * table["base"], of=theirs["of"], counts=counts)
    return Shown(table_of("table1", [record], list(rows.values()), notes, forms))


def figure1(records: Records) -> Shown:
    """How many heads leave which metric when each is masked alone; of a translation, those of table 1."""
    every, rows = records["without-one"], []
    for record in every:
        for table in record["tables"]:
            heads = _heads(record, table)
            sure = [row["delta"] for row in heads if row["p_value"] < table["alpha"]]
            row: Row = {"subject": subject_of(record), "split": table["split"].removeprefix("validation_")}
            row |= {"metric": metric_name(record), "whole": 100 * table["base"], "heads": len(heads)}
            row |= {"worse without (p < 0.01)": sum(delta < 0 for delta in sure)}
            row |= {"better without (p < 0.01)": sum(delta > 0 for delta in sure)}
            rows.append(row | {"largest loss, points": 100 * min(head["delta"] for head in heads)})
    theirs = published()["table1"]
    notes = said("figure1", significant=len(theirs["significant"]), n=sum(map(len, theirs["delta"])))
    notes += said("figure1", "translation") if any(map(is_translation, every)) else []
    drawn = {end: ablation_histogram(each, of_encoder=is_translation(each)) for end, each in panels(every)}
    return Shown(table_of("figure1", every, rows, notes), drawn)


def figure2(records: Records) -> Shown:
    """The differences on two splits against each other; of a translation also those of the encoder's heads alone."""
    every, rows, models = records["without-one"], [], []
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
                row |= dict.fromkeys(sheet("figure2")["forms"]) | {"published r": before}
                if r["value"] is not None:
                    row |= {"here": r["value"], "95% interval": (r["low"], r["high"])}
                    row |= {"here - published": r["value"] - before}
                    row |= {"its 95% interval": (r["low"] - before, r["high"] - before)}
                rows.append(row)
    notes = said("figure2", of=" and ".join(dict.fromkeys(models)))
    notes += said("figure2", "translation") if any(map(is_translation, every)) else []
    table = table_of("figure2", every, rows, notes)
    return Shown(table, {end: ablation_scatter(record) for end, record in panels(every)})


def kept_alone(name: str, records: Records) -> Shown:
    """`table2` of a translation and `table3` of a classifier: heads chosen on the very split they are measured on.

    `table5` and `table6` are the same with heads that were chosen on other examples. Published and own rows stand side
    by side, kind by kind; of several subjects, beside those of the same task.
    """
    theirs = published()[name]
    every = [_ours(record, chosen_here=name in ("table2", "table3")) for record in records["only-one"]]
    rows = [row for record, table, best, _ in every for row in _beside(theirs, record, table, best, len(every) == 1)]
    forms = {"published": "+.2f*" if "significant" in theirs else "+.2f"}
    notes = []
    for record, measured, _, how in every:
        whose = f"{subject_of(record)}: d" if len(every) > 1 else "D"
        words = {"whose": whose, "metric": metric_name(record), "table": measured, "how": how}
        notes += said("kept_alone", "subjects", base=100 * measured["base"], **words)
    notes += said("kept_alone", of=theirs["of"])
    notes += said("kept_alone", "blocks") if "blocks" in rows[0] else []
    tests = " or ".join(dict.fromkeys(measured["test"] for _, measured, *_ in every))
    key = "tests" if "significant" in theirs else "tests_unknown"
    notes += said("kept_alone", key, alpha=every[0][1]["alpha"], tests=tests)
    subjects = [record for record, *_ in every]
    if not any(record["task"] == theirs["task"] for record in subjects):
        notes += said("kept_alone", "other_task")
    elif any(row["published"] is not None and row["here - published"] is None for row in rows):
        notes += said("kept_alone", "other_depth")
    table = table_of("kept_alone", subjects, rows, notes, forms, number=name[-1])
    if len(every) == 1:
        return Shown(table)
    summary = []
    for record, measured, best, _ in every:
        worse = [row for row in best if row["delta"] < 0 and row["p_value"] < measured["alpha"]]
        place = {"subject": subject_of(record), "metric": metric_name(record), "examples": measured["n_examples"]}
        losses = {"layers": len(best), "of them worse with one head (p < 0.01)": len(worse)}
        summary.append({**place, **losses, "largest difference, points": 100 * min(row["delta"] for row in best)})
    return Shown(table, summary=Table.of("", summary, sheet("kept_alone")["summary"]))


def _ours(record: Record, *, chosen_here: bool) -> tuple[Record, Record, list[Row], str]:
    """The record, its table (a translation's last, if heads were chosen before), the best heads, and how chosen."""
    table = record["tables"][-1 if is_translation(record) and not chosen_here else 0]
    best, first = table["best"], table["best"][0]
    if not chosen_here:
        return record, table, best, f"chosen on {first['chosen_examples']} examples of {first['chosen_on']}"
    there = {(row["layer"], row["head"]): row for row in head_rows(table)}
    found = [there[str(row["layer"]), row["best_here"]["head"]] for row in best]
    return record, table, found, f"chosen on {table['split']} itself"


def _beside(theirs: Record, record: Record, table: Record, best: list[Row], is_alone: bool) -> Iterator[Row]:
    """A row a layer of each kind; the difference between them only where the models have as many layers."""
    is_same = record["task"] == theirs["task"]
    published_here = theirs["delta"] if is_alone or is_same else {}
    kinds: dict[str, dict[int, Row]] = {kind: {} for kind in published_here}
    for kept in best:
        kind, _, number = str(kept["layer"]).rpartition(":")
        kinds.setdefault(kind, {})[int(number)] = kept
    columns = ("head", "here", "95% interval", "here - published", "its 95% interval")
    for kind, by_layer in kinds.items():
        there = dict(enumerate(published_here.get(kind, ()), start=1))
        for layer in range(1, max(len(there), *by_layer, 0) + 1):
            before, found = there.get(layer), by_layer.get(layer)
            row = {"subject": subject_of(record), **({"blocks": kind} if kind else {}), "layer": layer}
            row |= {"published": before, **dict.fromkeys(columns)}
            if before is not None and "significant" in theirs:
                row["published"] = Cell(before, SURE * (layer in theirs["significant"][kind]))
            if found is not None:
                delta, low, high = (100 * found[key] for key in ("delta", "low", "high"))
                here = Cell(delta, SURE * (found["p_value"] < table["alpha"]))
                row |= {"head": found["head"], "here": here, "95% interval": (low, high)}
                if before is not None and is_same and len(there) == len(by_layer):
                    row |= {"here - published": delta - before, "its 95% interval": (low - before, high - before)}
            yield row
