"""Tables 1, 2, 3, 5 and 6, figures 1 and 2: what each head matters, and what one that is kept alone can do."""

from collections.abc import Iterator
from itertools import chain

from prune_heads.paper import published, sheet
from prune_heads.reporting.ablation import head_rows
from prune_heads.reporting.figures.heads import ablation_histogram, ablation_scatter
from prune_heads.reporting.michel2019.shown import SURE, Records, Shown, drawn, ends, is_translation, table_of
from prune_heads.reporting.words import Record, Row, metric_name, subject_of
from prune_heads.statistics import correlate
from prune_heads.tables import Cell, Table


def _heads(record: Record, table: Record) -> list[Row]:
    """The heads that were masked; of a translation, those of the encoder's self-attention."""
    return list(head_rows(table, "E:" if is_translation(record) else ""))


def table1(records: Records) -> Shown:
    """The difference that masking each head of the encoder's self-attention makes; published rows below ours."""
    (record,) = records["without-one"]
    table, theirs, here = record["tables"][0], published()["table1"], dict[int, dict[str, Cell]]()
    for row in _heads(record, table):
        cell = Cell(100 * row["delta"], SURE * (row["p_value"] < table["alpha"]))
        here.setdefault(int(row["layer"][2:]), {})[str(row["head"])] = cell
    there = {
        layer: {str(head): Cell(x, SURE * ([layer, head] in theirs["significant"])) for head, x in enumerate(row, 1)}
        for layer, row in enumerate(theirs["delta"], start=1)
    }
    rows, counts, forms = list[Row](), [], dict[str, str]()
    for source, layers in {"here": here, "published": there}.items():
        rows += [{"source": source, "layer": layer, **cells} for layer, cells in layers.items()]
        marks = [cell.mark for cells in layers.values() for cell in cells.values()]
        counts.append(f"{marks.count(SURE)} of {len(marks)} {source}")
        forms |= {head: "+.2f*" for cells in layers.values() for head in cells}
    words = {"table": table, "base": 100 * table["base"], "of": theirs["of"], "counts": ", ".join(counts)}
    return Shown(table_of("table1", [record], rows, forms=forms, **words))


def figure1(records: Records) -> Shown:
    """How many heads leave which metric when each is masked alone (of a translation, those of table 1); how surely."""
    every, rows, theirs = records["without-one"], [], published()["table1"]
    for record in every:
        for table in record["tables"]:
            heads = _heads(record, table)
            sure = [row["delta"] for row in heads if row["p_value"] < table["alpha"]]
            row: Row = {"subject": subject_of(record), "split": table["split"].removeprefix("validation_")}
            row |= {"metric": metric_name(record), "whole": 100 * table["base"], "heads": len(heads)}
            row |= {"worse without (p < 0.01)": sum(delta < 0 for delta in sure)}
            row |= {"better without (p < 0.01)": sum(delta > 0 for delta in sure)}
            rows.append(row | {"largest loss, points": 100 * min(head["delta"] for head in heads)})
    words: Row = {"significant": len(theirs["significant"]), "n": sum(map(len, theirs["delta"]))}
    believed = [_believed(record, each) for record in every for each in record["tables"] if each.get("equivalence")]
    also = {"translation": any(map(is_translation, every)), "believed": bool(believed)}
    table = table_of("figure1", every, rows, also, **words)
    figures = drawn(lambda record: ablation_histogram(record, of_encoder=is_translation(record)), every)
    below = Table.of("How far this can be believed", believed, sheet("figure1")["believed_forms"]) if believed else None
    return Shown(table, figures, below=below)


def _believed(record: Record, table: Record) -> Row:
    """What the examples can say of all heads together, by the metric and by the second response."""
    about, same, beside = table["together"], table["equivalence"], table.get("likelihood") or table.get("response")
    response = beside and beside.get("together")
    found = about["smallest_difference"]
    row: Row = {"subject": subject_of(record), "split": table["split"].removeprefix("validation_")}
    row |= {"groups": about["n_groups"], "80% power, points": found and 100 * found}
    for name, of in (("", about), (", response", response)):
        row[f"reliability{name}"] = of and of["reliability"]
        row[f"differ{name}"] = of and sum(p is not None and p < table["alpha"] for p in chain(*of["max_t"]))
    verdicts = [*chain(*same["verdict"])]
    return row | {f"within {same['margin']:g}": verdicts.count("kept"), "not within": verdicts.count("lost")}


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
                row |= {"published r": before, "here": r["value"], "95% interval": ends(r)}
                row |= {"here - published": None if r["value"] is None else r["value"] - before}
                rows.append(row | {"its 95% interval": ends(r, less=before)})
    also, of = {"translation": any(map(is_translation, every))}, " and ".join(dict.fromkeys(models))
    return Shown(table_of("figure2", every, rows, also, of=of), drawn(ablation_scatter, every))


def kept_alone(name: str, records: Records) -> Shown:
    """`table2` of a translation and `table3` of a classifier: heads chosen on the very split they are measured on.

    `table5` and `table6` are the same with heads that were chosen on other examples. Published and own rows stand side
    by side, kind by kind; of several subjects, beside those of the same task.
    """
    theirs, every = published()[name], records["only-one"]
    measured = [_ours(record, chosen_here=name in ("table2", "table3")) for record in every]
    is_alone, rows, subjects, summary = len(every) == 1, list[Row](), list[str](), list[Row]()
    (subject,) = sheet("kept_alone")["subjects"]
    for record, (table, best, how) in zip(every, measured, strict=True):
        rows += _beside(theirs, record, table, best, is_alone)
        name_of, metric = subject_of(record), metric_name(record)
        words = {"whose": "D" if is_alone else f"{name_of}: d", "metric": metric, "table": table, "how": how}
        subjects.append(subject.format(base=100 * table["base"], **words))
        worse = sum(row["delta"] < 0 and row["p_value"] < table["alpha"] for row in best)
        place = {"subject": name_of, "metric": metric, "examples": table["n_examples"], "layers": len(best)}
        losses = {"of them worse with one head (p < 0.01)": worse}
        summary.append({**place, **losses, "largest difference, points": 100 * min(row["delta"] for row in best)})
    is_known, is_same = "significant" in theirs, any(record["task"] == theirs["task"] for record in every)
    apart = any(row["published"] is not None and row["here - published"] is None for row in rows)
    also = {"blocks": "blocks" in rows[0], "tests": is_known, "tests_unknown": not is_known}
    also |= {"other_task": not is_same, "other_depth": is_same and apart}
    tests = " or ".join(dict.fromkeys(table["test"] for table, *_ in measured))
    words = {"number": name[-1], "of": theirs["of"], "alpha": measured[0][0]["alpha"], "tests": tests}
    forms = {"published": "+.2f*" if is_known else "+.2f"}
    shown = table_of("kept_alone", every, rows, also, forms, subjects, **words)
    return Shown(shown, summary=None if is_alone else Table.of("", summary, sheet("kept_alone")["summary"]))


def _ours(record: Record, *, chosen_here: bool) -> tuple[Record, list[Row], str]:
    """The table of a record (a translation's last, if heads were chosen before), the best heads, and how chosen."""
    table = record["tables"][-1 if is_translation(record) and not chosen_here else 0]
    best, first = table["best"], table["best"][0]
    if not chosen_here:
        return table, best, f"chosen on {first['chosen_examples']} examples of {first['chosen_on']}"
    there = {(row["layer"], row["head"]): row for row in head_rows(table)}
    found = [there[str(row["layer"]), row["best_here"]["head"]] for row in best]
    return table, found, f"chosen on {table['split']} itself"


def _beside(theirs: Record, record: Record, table: Record, best: list[Row], is_alone: bool) -> Iterator[Row]:
    """A row a layer of each kind; the difference between them only where the models have as many layers."""
    is_same = record["task"] == theirs["task"]
    published_here = theirs["delta"] if is_alone or is_same else {}
    kinds: dict[str, dict[int, Row]] = {kind: {} for kind in published_here}
    for kept in best:
        kind, _, number = str(kept["layer"]).rpartition(":")
        kinds.setdefault(kind, {})[int(number)] = kept
    columns = ("published", "head", "here", "95% interval", "here - published", "its 95% interval")
    for kind, by_layer in kinds.items():
        there = dict(enumerate(published_here.get(kind, ()), start=1))
        for layer in range(1, max(len(there), *by_layer, 0) + 1):
            before, found = there.get(layer), by_layer.get(layer)
            row = {"subject": subject_of(record), **({"blocks": kind} if kind else {}), "layer": layer}
            row |= dict.fromkeys(columns) | {"published": before}
            if before is not None and "significant" in theirs:
                row["published"] = Cell(before, SURE * (layer in theirs["significant"][kind]))
            if found is not None:
                delta, mark = 100 * found["delta"], SURE * (found["p_value"] < table["alpha"])
                row |= {"head": found["head"], "here": Cell(delta, mark), "95% interval": ends(found, 100)}
                if before is not None and is_same and len(there) == len(by_layer):
                    row |= {"here - published": delta - before, "its 95% interval": ends(found, 100, before)}
            yield row
