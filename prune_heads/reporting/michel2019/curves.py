"""Figures 3 to 6: how far one can prune; table 4: how much faster a model is then; `estimators`, not in the paper."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from prune_heads.paper import published, sheet
from prune_heads.reporting.curves import REACHED, Line, by_percent, few_of, lines, reached
from prune_heads.reporting.figures import curves, heads
from prune_heads.reporting.michel2019.shown import Records, Shown, drawn, ends, is_translation, table_of
from prune_heads.reporting.words import ATTENTION, Record, Row, metric_name, share, subject_of, within
from prune_heads.statistics import correlate
from prune_heads.studies.curves import REFERENCE, RUNNING_SUM
from prune_heads.tables import Table

_PUBLISHED = "published up to, %"
_SHARES = (0, 20, 40, 60, 80)  # percent of the heads, for the table; the figure has all
_NEAR_PERCENT = 1.5  # of a point of the replication (144 heads in steps of 5%) that stands for one of ours
_REPLICATED = {"gradient": "gradient", "oracle": "ablation (oracle)"}  # curve of it -> its order here
_OVERLAP = "overlap at 50%"
_BY_PERCENT = "area_difference_by_percent"
"""Of a line from a record of format 1: the difference over the percent asked for, whose interval is all there is."""


def figure3(records: Records) -> Shown:
    """In order of I_h, and of the differences that each head makes alone; a row an order.

    Of several subjects also how much of the metric each order keeps: over all shares, and without half of the heads.
    """
    every = records["orders"]
    of_each = [_first(record) for record in every]
    percents = sorted({percent for same in of_each for line in same for percent in line.values})
    also, words = _about_margins(of_each)
    rows: list[Row] = [
        {"subject": f"{subject_of(line.record)}, {metric_name(line.record)}", "order": line.label, _PUBLISHED: None}
        | (reached(line.kept, list(line.values)) if also["tested"] else {})
        | _shares(line.values, percents)
        for same in of_each
        for line in same
    ]
    theirs_up_to = published()["figure3"]["no_noticeable_loss_up_to_percent"]
    theirs = {"wmt": "a large Transformer on WMT14 En-Fr"} if any(map(is_translation, every)) else {}
    theirs |= {} if all(map(is_translation, every)) else {"bert": "bert-base-uncased on mnli"}
    for key, model in theirs.items():
        rows.append({"subject": f"published: {model}", "order": "gradient", _PUBLISHED: theirs_up_to[key]})
    for task in dict.fromkeys(record["task"] for record in every):
        for end, order in _REPLICATED.items():
            if near := _replicated(f"{task}_{end}", percents):
                subject = {"subject": f"replication: bert-base-uncased on {task}", "order": order}
                rows.append(subject | _shares(near, near))
    forms = {**dict.fromkeys((_PUBLISHED, *REACHED), ".0f"), **dict.fromkeys(_shares({}, percents), ".4f")}
    table = table_of("figure3", every, rows, also, forms, **words)
    figures = drawn(curves.criteria_figure, every)
    if len(every) == 1:
        return Shown(table, figures)
    orders, areas = dict.fromkeys(line.label for same in of_each for line in same), []
    for record, same in zip(every, of_each, strict=True):
        whole = {line.label: line.about["areas"][line.split] for line in same}
        half = {line.label: line.values.get(50) for line in same}
        kept = {f"area, {order}": whole.get(order) for order in orders}
        kept |= {f"50% pruned, {order}": half.get(order) for order in orders}
        areas.append({"subject": subject_of(record), "metric": metric_name(record), **kept})
        for row in record.get("sampled_areas", ()):
            if row["second"] and row["split"] == same[0].split:
                name = f"area, {row['first']} - {row['second']}"
                areas[-1] |= {name: row["value"], f"95% interval, {name}": ends(row)}
    forms = {key: "+.4f to" if key.startswith("95%") else ".4f" for row in areas for key in list(row)[2:]}
    notes = (f"Differences of areas, {subject_of(record)}:{few.lower()}" for record in every if (few := few_of(record)))
    return Shown(table, figures, Table.of("", areas, forms, tuple(notes)))


def figure4(records: Records) -> Shown:
    """The metric as heads of the encoder, of the decoder, or between them go, lowest I_h first."""
    kinds = {letter: _first(records[f"curve-{letter}"][0])[0] for letter in ATTENTION}
    columns = {f"{letter}: {ATTENTION[letter].removesuffix(' attention')}": line for letter, line in kinds.items()}
    rows = [
        {"heads of the kind pruned": f"{percent:g}%"} | {name: row[name] for name in columns}
        for percent, row in by_percent(columns).items()
    ]
    line, first = kinds["E"], kinds["E"].record
    words: Row = {"n": first["data"][0]["n_examples"], "n_scored": first["scored_on"]["gradient"]["n_examples"]}
    words |= {"metric": metric_name(first), "split": line.split, "scored_on": line.about["scored_on"]}
    table = table_of("figure4", [first], rows, forms=dict.fromkeys(columns, ".4f"), **words)
    return Shown(table, {"": curves.kinds_figure(kinds)})


def figure5(records: Records) -> Shown:
    """In order of I_h at each epoch; the order of the heads against that of the last epoch."""
    every, trainings, rows = records["curve"], dict[str, dict[int, Line]](), []
    for record in every:
        model, _, epoch = record["model"]["name"].rpartition("/epoch-")
        trainings.setdefault(model, {})[int(epoch)] = _first(record)[0]
    also, words = _about_margins(map(_first, every))
    for name, epochs in trainings.items():
        *_, last = epochs.values()
        for epoch, line in epochs.items():
            rank, values = correlate(_scores(line), _scores(last))["spearman"], line.values
            rows.append(
                {"model": name, "epoch": epoch, **_shares(values, _SHARES)}
                | (reached(line.kept if values[0] > values[100] else None, list(values)) if also["tested"] else {})
                | {"rank r with last": rank["value"], "95% interval": None if line is last else ends(rank)}
            )
    theirs = published()["figure5"]
    bleu = ", ".join(f"{value} after {epoch}" for epoch, value in zip(theirs["epoch"], theirs["bleu"], strict=True))
    tasks = " and ".join(dict.fromkeys(record["task"] for record in every))
    words |= {"metric": metric_name(every[0]), "published": bleu, "tasks": tasks}
    table = table_of("figure5", every[:1], rows, also, dict.fromkeys(_shares({}, _SHARES), ".4f"), **words)
    return Shown(table, {"": curves.epochs_figure(trainings)})


def figure6(records: Records) -> Shown:
    """In order of I_h, on several tasks; a row a model, and one of their mean where a task has several.

    Of fine-tunings by several seeds a second table says how far the mean is that of others.
    """
    every, by_task, rows = records["curve"], dict[str, list[Line]](), []
    for record in every:
        by_task.setdefault(record["task"], []).append(_first(record)[0])
    theirs = published()["figure6"]["no_noticeable_loss_up_to_percent"]
    joint, lone = [_bounded(each) for each in records.get("seeds", ())], list[str]()
    of_seeds, (also, words) = {record["task"]: record for record in joint}, _about_margins(by_task.values(), joint)
    for task, same in by_task.items():
        first = same[0].record
        shown = [(line.record["model"]["name"], line.points, line.kept) for line in same]
        of_task = [each for each in joint if each["task"] == task]
        shown += [(f"mean of {len(each['models'])} seeds", each["points"], each["kept"]) for each in of_task]
        if len(same) > 1 and not of_task:
            whole = {"value": mean(line.points[0]["value"] for line in same), "low": None, "percent": 0}
            shown.append((f"mean of {len(same)}", [whole], None))
            lone.append(task)
        up_to = theirs.get("iwslt" if is_translation(first) else task)
        for name, points, kept in shown:
            row: Row = {"task": task, "model": name, "metric": metric_name(first), "whole": points[0]["value"]}
            row |= {"95% interval": ends(points[0])} if of_seeds else {}
            shares = reached(kept, [point["percent"] for point in points]) if also["tested"] else {}
            rows.append({**row, _PUBLISHED: up_to, **shares})
    also |= {"seeds": bool(of_seeds), "lone": bool(lone)}
    words["also_of"] = ", and of translations a Transformer on IWSLT De-En" if any(map(is_translation, every)) else ""
    table = table_of("figure6", every, rows, also, lone=", ".join(lone), **words)
    below = Table.of("By seed", _by_seed(joint), sheet("figure6")["seeds_forms"]) if of_seeds else None
    return Shown(table, {"": curves.subjects_figure(by_task, of_seeds)}, below=below)


def _bounded(record: Record) -> Record:
    """A record of seeds whose intervals of the metric end where that does."""
    metric, points = record["headline"], [within(record["headline"], point) for point in record["points"]]
    return {**record, "points": points, "area": within(metric, record["area"])}


def _by_seed(records: Iterable[Record]) -> Iterator[Row]:
    """What fine-tunings by several seeds say together."""
    for record in records:
        parts = {f"{point['percent']:g}% pruned": point for point in record["points"] if point["percent"] in (0, 50)}
        for name, found in [*parts.items(), ("area", record["area"])]:
            row: Row = {"task": record["task"], "of": name, "seeds": len(found["values"]), "mean": found["value"]}
            row |= {"95% interval": ends(found), "lowest to highest": (min(found["values"]), max(found["values"]))}
            share = None if found["share"] is None else (100 * found["share_low"], 100 * found["share_high"])
            yield row | {"seeds' share, %": None if share is None else 100 * found["share"], "its interval": share}


def _about_margins(every: Iterable[Sequence[Line]], joint: Iterable[Record] = ()) -> tuple[dict[str, bool], Row]:
    """Which sentences are said of tests against a margin, of the lines of each subject and of seeds; their words.

    Where none was `tested`, nothing is said of margins, and no table has columns for them.
    """
    found = [line for same in every for line in same]
    tests = [kept for kept in (*(line.kept for line in found), *(each["kept"] for each in joint)) if kept is not None]
    lacking = dict.fromkeys(subject_of(line.record) for line in found if line.kept is None)
    words = {"loss": _alternatives(100 * kept["margin"] for kept in tests), "lacking": ", ".join(lacking)}
    return {"tested": bool(tests), "untested": bool(tests and lacking)}, words


def _shares(values: Mapping[float, Any], percents: Iterable[float]) -> Row:
    return {f"{percent:g}%": values.get(percent) for percent in percents}


def _first(record: Record) -> list[Line]:
    """The lines on the first split."""
    return next(iter(lines(record).values()))


def _scores(line: Line) -> np.ndarray:
    return np.concatenate([np.asarray(row, dtype=float) for row in line.about["scores"]])


def _replicated(name: str, percents: Sequence[float]) -> dict[float, float]:
    """Of a curve of the replication, if there is one of that name: the value nearest to each share, if near enough."""
    found = published()["replication"]
    places = {100 * n / 144: value for n, value in zip(found["heads"], found.get(name, ()), strict=False)}
    nearest = {percent: min(places, key=lambda at: abs(at - percent)) for percent in percents if places}
    return {percent: places[at] for percent, at in nearest.items() if abs(at - percent) <= _NEAR_PERCENT}


def estimators(records: Records) -> Shown:
    """A row a subject and estimator; grids of their correlations, and the curves."""
    every = records["estimators"]
    rows = [_estimated(record, line) for record in every for line in record["lines"]]
    metrics = ", ".join(dict.fromkeys(f"{record['task']} {metric_name(record)}" for record in every))
    words: Row = {"reference": REFERENCE, "running_sum": RUNNING_SUM, "metrics": metrics}
    words |= {"batch": _alternatives(record["configuration"]["batch_size"] for record in every)}
    words |= {"chance": _alternatives(round(record["chance_overlap"], 2) for record in every)}
    old = [record for record in every if _BY_PERCENT in record["lines"][0]]  # nothing is there to resample
    apart = (abs(of[_BY_PERCENT]["value"] - of["area_difference"]["value"]) for each in old for of in each["lines"])
    words |= {"tasks": ", ".join(record["task"] for record in old), "apart": 100 * max(apart, default=0)}
    also = {"one_token": any(record["reads_one_token"] for record in every), "of_percents": bool(old)}
    figures = {"": heads.agreement_figure(every), "-curves": curves.estimator_curves(every)}
    means, summary = [], []
    for name in dict.fromkeys(row["estimator"] for row in rows) if len(every) > 1 else ():
        of_name = [row for row in rows if row["estimator"] == name]
        means_of: Row = {"task": f"mean of {len(every)}", "estimator": name}
        for key in ("difference", "Spearman", _OVERLAP):  # what can be compared between metrics
            values = [row[key] for row in of_name if row[key] is not None]
            means_of[key] = mean(values) if values else None
        means.append(means_of)
        if intervals := [row["its 95% interval"] for row in of_name if row["its 95% interval"]]:
            sure = {"tasks where it is surely below 0": sum(high < 0 for _, high in intervals)}
            sure["surely above"] = sum(low > 0 for low, _ in intervals)
            agreement = {f"{key}, mean": means_of[key] for key in ("Spearman", _OVERLAP)}
            summary.append({"estimator": name, "difference of areas, mean": means_of["difference"]} | sure | agreement)
    table = table_of("estimators", every, [*rows, *means], also, **words)
    return Shown(table, figures, Table.of("", summary, sheet("estimators")["summary"]) if means else None)


def _estimated(record: Record, line: Record) -> Row:
    name, difference = line["estimator"], line["area_difference"]
    shown = f"{name} (defect)" if name == RUNNING_SUM else name
    row: Row = {"task": record["task"], "model": record["model"]["name"], "estimator": shown}
    row |= {"scored on": record["scored_on"]["n_examples"], "measured on": record["data"][0]["n_examples"]}
    row |= dict.fromkeys(sheet("estimators")["forms"])
    row |= {"area": 100 * line["area"], "metric at 50%": 100 * line["half"]["value"]}
    if name != REFERENCE:
        interval = ends(line.get(_BY_PERCENT, difference), 100)
        row |= {"difference": 100 * difference["value"], "its 95% interval": interval}
    for pair in record["pairs"]:
        if {pair["first"], pair["second"]} == {name, REFERENCE}:
            r = pair["spearman"]
            row |= {"Spearman": r["value"], _OVERLAP: pair["overlap"], "95% interval": ends(r)}
    return row


def _alternatives(values: Iterable[float]) -> str:
    return " or ".join(f"{value:g}" for value in sorted(set(values)))


def table4(records: Records) -> Shown:
    """Examples a second, padded to one length as in the paper."""
    (record,) = records["bench"]
    theirs = published()["table4"]
    keys = ("original", "pruned_50", "gain_percent")
    there = {size: [theirs[key][i] for key in keys] for i, size in enumerate(theirs["batch_size"])}
    rows = []
    for row in record["rows"]:
        if row["lengths"] == "fixed":
            of_sides = [row["examples_per_second"][side] for side in ("original", "removed")]
            speeds = [of[key] for of in of_sides for key in ("mean", "deviation")]
            ratios = (row["ratio"]["removed"]["median"], row["ceiling"])
            gains = (None if ratio is None else 100 * (ratio - 1) for ratio in ratios)
            values = (row["batch_size"], *there.get(row["batch_size"], [None] * 3), *speeds, *gains)
            rows.append(dict(zip(("batch", *sheet("table4")["forms"]), values, strict=True)))
    where = record["provenance"]
    machine = f"{where['threads']} threads of a CPU" if where["device"] == "cpu" else where["device"]
    is_unknown = any(row["ceiling"] is None for row in record["rows"])
    unknown = "; it is not known for this type of model" if is_unknown else ""
    words = {"record": record, "of": theirs["of"], "share": share(record), "machine": machine, "unknown": unknown}
    return Shown(table_of("table4", [record], rows, **words))
