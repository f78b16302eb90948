"""What a page shows, from the runs: all of it JSON, heads of masks and pairs by their places, block after block."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prune_heads.descriptors import HeadCounts
from prune_heads.errors import RunError
from prune_heads.reporting.ablation import response_of
from prune_heads.reporting.curves import lines
from prune_heads.reporting.page.columns import columns
from prune_heads.reporting.page.runs import Run
from prune_heads.reporting.words import Record, metric_title, number_of, split_title, task_title

Places = Mapping[str, int]  # name of a head, `3:1` -> its place in the model, from 0
Row = dict[str, Any]


def page_data(runs: Sequence[Run]) -> Row:
    """The value that the script of the page draws; its types are in `script/1-base.js`.

    A `RunError` if a record is damaged, or no run says how many heads there are.
    """
    blocks, counts = _described(runs)
    names = [f"{label}:{head + 1}" for label, n in zip(counts.names(), counts, strict=True) for head in range(n)]
    places = {name: place for place, name in enumerate(names)}
    data: Row = {
        "model": {"type": "unknown type", "revision": None}
        | next(run.record["model"] for run in runs if "model" in run.record),
        "blocks": [{**block, "label": label} for block, label in zip(blocks, counts.names(), strict=True)],
        "columns": columns(runs, counts),
        "costs": next((run.record["costs"] for run in runs if run.record.get("costs")), None),
    }
    parts = {"orders": _orders, "base": _base, "pairs": _pairs, "examples": _examples}
    data |= {name: [] for name in (*parts, "texts")}
    for run in runs:
        with run.reading() as record:
            found = {name: of(run, places) for name, of in parts.items()} | {"texts": record.get("texts") or ()}
            for name, rows in found.items():
                data[name] += [{**each, "source": run.source} for each in rows]
    data["orders"] = _once(data["orders"])
    base: dict[tuple[str, str], Row] = {}  # one a metric and split: the first with an interval, or else the first
    for row in data["base"]:
        key = row["where"], row["metric"]
        base[key] = row if key not in base or (base[key]["low"] is None and row["low"] is not None) else base[key]
    data["base"] = list(base.values())
    return {**data, "missing": _missing(runs, data)}


def _described(runs: Sequence[Run]) -> tuple[list[Row], HeadCounts]:
    keys = ("name", "kind", "stack", "layer", "n_heads")
    for run in runs:
        with run.reading() as record:
            tables = record.get("tables") or record.get("pairs") or () if run.command == "ablate" else ()
            holders = [record, record.get("costs") or {}, run.files.get("scores", {})]
            for blocks in (*(table["blocks"] for table in tables), *(each.get("blocks") for each in holders)):
                if blocks:
                    found = [{key: block[key] for key in keys} for block in blocks]
                    return found, HeadCounts.described(found)
    must = "one RUN must say how many heads the model has; none does"
    raise RunError(f"{must}. Add one of 'ablate', 'score' or 'run --curve', or a curve of this version")


def _where(record: Record, split: str) -> str:
    return f"{task_title(record['task'])}, {split_title(split)}"


def _orders(run: Run, places: Places) -> Iterator[Row]:
    """Lines of the metric as heads go: points with their masks, where one mask stands for them."""
    record, asked = run.record, run.record.get("configuration", {})
    found: list[tuple[str, str, str, Sequence[Record], Record]] = []  # split, metric, title, points, more of the line
    if run.command == "curve" or (run.command in ("run", "fit") and record["curve"]):
        for split, of_split in lines(record).items():
            for line in of_split:
                ends = line.ends or ([None] * len(line.points),) * 2
                points = [{**p, "low": low, "high": high} for p, low, high in zip(line.points, *ends, strict=True)]
                found.append((split, record["headline"], line.label, points, line.about))
    elif run.command == "run":
        estimator = f" ({asked['estimator']})" if asked.get("estimator") else ""
        title = "heads named by hand" if asked.get("heads") else f"{asked.get('criterion')}{estimator}"
        for row in record["rows"]:
            if row["metric"] == record["headline"]:
                low, high = row.get("base_interval") or (None, None)
                start = {"n_pruned": 0, "heads_pruned": [], "value": row["base"], "low": low, "high": high}
                found.append((row["split"], row["metric"], title, [start, {**record, "value": row["pruned"]}], {}))
    elif run.command == "evaluate" and record["heads_pruned"]:
        metric, value = next(iter(record["metrics"].items()))
        low, high = record["intervals"][metric]
        n_pruned = len(_mask(record["heads_pruned"], places))
        point = {**record, "n_pruned": n_pruned, "value": value, "low": low, "high": high}
        found.append((record["split"], metric, f"heads of {run.source}", [point], {}))
    for split, metric, title, of_line, about in found:
        criterion = about.get("criterion") or asked.get("criterion")
        yield {
            "title": title,
            "criterion": criterion,
            "where": _where(record, split),
            "metric": metric_title(metric),
            "n_examples": number_of(record, split),
            "n_draws": about.get("n_draws", 1),
            "is_oracle": criterion == "ablation" and about.get("scored_on") == split,
            "points": [
                {"n": point["n_pruned"], "value": point["value"], "low": point.get("low"), "high": point.get("high")}
                | {"heads": point["heads_pruned"] and _mask(point["heads_pruned"], places)}
                for point in of_line
            ],
        }


def _once(orders: Iterable[Row]) -> list[Row]:
    """Without lines that are a part of another one of the same order, unless they alone have intervals."""
    found: list[Row] = []
    for order in sorted(orders, key=lambda order: (order["points"][0]["low"] is None, -len(order["points"]))):
        same = [each for each in found if (each["where"], each["title"]) == (order["where"], order["title"])]
        values = {(point["n"], round(point["value"], 6)) for each in same for point in each["points"]}
        if not all((point["n"], round(point["value"], 6)) in values for point in order["points"]):
            found.append({**order, "title": f"{order['title']}, {order['source']}"} if same else order)
    return found


def _mask(descriptors: Iterable[str], places: Places) -> list[int]:
    parts = (text.rpartition(":") for text in descriptors)
    return [places[f"{layer}:{head}"] for layer, _, heads in parts for head in heads.split(",")]


def _base(run: Run, places: Places) -> Iterator[Row]:
    """The metrics of the model with all heads that it has."""
    record = run.record
    rows: list[tuple[str, str, float, Sequence[float] | None]] = []
    if run.command == "evaluate" and not record["heads_pruned"]:
        ends = record["intervals"]
        rows = [(record["split"], name, value, ends[name]) for name, value in record["metrics"].items()]
    elif run.command in ("run", "fit"):
        rows = [(row["split"], row["metric"], row["base"], row.get("base_interval")) for row in record["rows"]]
    elif run.command == "ablate":
        tables = record.get("tables") or record["pairs"]
        rows = [(each["split"], each["metric"], each["base"], each.get("base_interval")) for each in tables]
    elif run.command == "curve":
        for split, (line, *_) in lines(record).items():
            first = line.points[0]
            ends = (first["low"], first["high"]) if line.about["n_draws"] == 1 else None
            rows.append((split, record["headline"], first["value"], ends))
    for split, metric, value, between in rows:
        low, high = map(float, between) if between else (None, None)
        found = {"where": _where(record, split), "metric": metric_title(metric), "n": number_of(record, split)}
        yield {**found, "value": float(value), "low": low, "high": high}


def _pairs(run: Run, places: Places) -> Iterator[Row]:
    """How alike two heads are, `[place, place, value]`; how they stand in for each other, also low, high and p."""
    record = run.record
    tables = [(_where(record, table["split"]), table["rows"]) for table in record.get("pairs") or ()]
    if record.get("interactions") and not record["configuration"].get("pairs"):  # else those of a run of pairs
        tables.append((task_title(record["task"]), record["interactions"]))
    for where, rows in tables:
        ends = ("interaction", "low", "high", "p_holm")
        found = [[*(places[row[end]] for end in ("first", "second")), *map(row.get, ends)] for row in rows]
        title = f"closed together, {where} (above 0: they stand in for each other)"
        yield {"title": title, "unit": "nats", "better": "high", "rows": found}
    for group in record.get("groups") or () if run.command == "similar" else ():
        by, far = group["by"], group["by"] == "js"
        title = "most alike, by attention (Jensen-Shannon divergence)" if far else "most alike, by output (linear CKA)"
        of = zip(group["heads"], group["partners"], strict=True)
        found = [[places[head], places[each["head"]], each[by]] for head, partners in of for each in partners]
        yield {"title": title, "unit": "", "better": "low" if far else "high", "rows": found}


def _examples(run: Run, places: Places) -> Iterator[Row]:
    """Contents of examples.json: of each head, or of a whole run, the examples whose answer changes most."""
    for split in run.files.get("examples", {}).get("splits", ()):
        if "heads" in split and sum(map(len, split["heads"])) != len(places):
            raise ValueError(f"the examples must have a cell for each of {len(places)} heads")
        cells = [[cell and [dict(change) for change in cell] for cell in row] for row in split.get("heads", ())]
        heads = {"heads": cells} if cells else {}
        yield {**split, **heads, "kind": run.record.get("kind"), "task": run.record.get("task")}


def _missing(runs: Sequence[Run], data: Row) -> list[dict[str, str]]:
    """What the page cannot show, and the command that measures it."""
    there = {run.command for run in runs}
    asked: Record = next((run.record["configuration"] for run in runs if "configuration" in run.record), {})
    who = "".join(f" --{name} {shlex.quote(str(asked[name]))}" for name in ("model", "task") if asked.get(name))
    data_dir = f" --data-dir {shlex.quote(asked['data_dir'])}" if asked.get("data_dir") else ""
    has_response = any(response_of(table) for run in runs for table in run.record.get("tables") or ())
    wanted = (
        (not any(each["low"] is not None for each in data["base"]), "the interval of the base metric", "evaluate"),
        ("ablate" not in there, "what closing each head changes", "ablate"),
        ("ablate" in there and not has_response, "changes of the log-likelihood; the record is older", "ablate"),
        (not any(each["points"][1:] for each in data["orders"]), "the metric as heads are pruned", "curve"),
        (data["costs"] is None, "parameters and multiply-adds; the records are older", "curve"),
        (not any("heads" in each for each in data["examples"]), "the examples that each head changes most", "ablate"),
        (not data["texts"], "attention on sentences of your own", 'look "your sentence"'),
        ("roles" not in there, "the role of each head", "roles"),
        ("similar" not in there, "which heads do the same work", "similar"),
    )
    of = ((what, how if "look" in how else f"{how}{data_dir}") for holds, what, how in wanted if holds)
    return [{"what": what, "how": f"prune-heads {how}{who} -o FOLDER"} for what, how in of]
