"""What a page shows, from the runs: one value for its template, and one for its script."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from prune_heads.descriptors import HeadCounts
from prune_heads.reporting.curves import Line, correlation_page, curve_page, lines
from prune_heads.reporting.page.columns import columns
from prune_heads.reporting.page.runs import FAULTS, Run, command_line, described, places
from prune_heads.reporting.terminal import bench_page, evaluation_table, run_page
from prune_heads.reporting.words import Record, data_name
from prune_heads.tables import Page, Table

PAGES = {"run": run_page, "curve": curve_page, "correlate": correlation_page, "bench": bench_page}
"""Command -> its tables, beside the columns."""


def page_data(runs: Sequence[Run]) -> dict[str, Any]:
    """What the script draws: all of it JSON.

    `blocks` have their `label`, heads of masks are numbered from 0 through all blocks, everything else is numbered and
    named as in the records.

    Raises:
        RunError: If a record is damaged, or no run says how many heads there are.
    """
    blocks = described(runs)
    counts = HeadCounts.described(blocks)
    found = [record["model"] for record in (run.record for run in runs) if "model" in record]
    data: dict[str, Any] = {
        "model": found[0],
        "blocks": [{**block, "label": label} for block, label in zip(blocks, counts.names(), strict=True)],
        "columns": columns(runs, counts),
        "costs": next((run.record["costs"] for run in runs if run.record.get("costs")), None),
    }
    for name, of in {"orders": _orders, "base": _base, "examples": _examples, "texts": _texts}.items():
        data[name] = []
        for run in runs:
            try:
                data[name] += [{**each, "source": run.source} for each in of(run, counts)]
            except FAULTS as fault:
                raise run.damaged(fault) from fault
    data["base"] = _first_with_interval(data["base"])
    data["missing"] = _missing(runs, data)
    return data


def about_runs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Of each run what the page says of how it was made, and its tables."""
    found = []
    for run in runs:
        record = run.record
        made = record.get("provenance", {})
        commit = f"{made['commit'][:12]}{' with changes' if made.get('dirty') else ''}" if made.get("commit") else None
        data = [
            f"{each['source']}: {each['n_examples']:,} of {each['n_available']:,} examples of {each['split']}, "
            f"{each['fingerprint'][:12]}"
            for each in record.get("data") or ()
        ]
        libraries = made.get("libraries", {})
        seconds = record.get("seconds", {})
        facts = {
            "task": record.get("task"),
            "data": "; ".join(data),
            "commit": commit,
            "date": made.get("date"),
            "identity": (record.get("identity_hash") or "")[:12],
            "versions": ", ".join(
                f"{name} {libraries[name]}" for name in ("torch", "transformers") if name in libraries
            ),
            "device": made.get("device"),
            "seconds": f"{sum(seconds.values()):.1f}" if seconds else None,
            "notes": " ".join(record.get("notes", ())),
        }
        try:
            tables = _tables(record)
            command = command_line(record)
        except FAULTS as fault:
            raise run.damaged(fault) from fault
        about = {"source": run.source, "command": run.command, "line": command, "tables": tables}
        found.append({**about, "facts": {name: fact for name, fact in facts.items() if fact}})
    return found


def _tables(record: Record) -> list[Table | str]:
    if record["command"] == "evaluate":
        return [evaluation_table(record)]
    made = PAGES.get(record["command"])
    page = made(record) if made else Page("", ())
    return list(page.parts)


def _orders(run: Run, counts: HeadCounts) -> Iterator[dict[str, Any]]:
    """Lines of the metric as heads go: points with their masks, where one mask stands for them."""
    record = run.record
    if run.command == "curve" or (run.command == "run" and record["curve"]):
        for split, of_split in lines(record).items():
            for line in of_split:
                yield _order(record, split, _name(line), [_point(point, counts) for point in line.points], line.about)
    elif run.command == "run":
        for row in record["rows"]:
            if row["metric"] == record["headline"]:
                low, high = row.get("base_interval") or (None, None)
                ends = [{"n_pruned": 0, "heads_pruned": [], "value": row["base"], "low": low, "high": high}]
                ends.append(
                    {"n_pruned": record["n_pruned"], "heads_pruned": record["heads_pruned"]} | {"value": row["pruned"]}
                )
                yield _order(record, row["split"], _criterion(record), [_point(point, counts) for point in ends])
    elif run.command == "evaluate" and record["heads_pruned"]:
        metric, value = next(iter(record["metrics"].items()))
        low, high = record["intervals"][metric]
        n_pruned = len(places(record["heads_pruned"], counts))
        point = {"n_pruned": n_pruned, "heads_pruned": record["heads_pruned"], "value": value, "low": low, "high": high}
        about = {**record, "headline": metric}
        yield _order(about, record["split"], f"heads of {run.source}", [_point(point, counts)])


def _order(record: Record, split: str, title: str, points: list[Any], line: Record | None = None) -> dict[str, Any]:
    line = line or {}
    return {
        "title": title,
        "criterion": line.get("criterion") or record.get("configuration", {}).get("criterion"),
        "where": data_name(record["task"], split).replace("_", " "),
        "metric": record["headline"].replace("_", " "),
        "n_examples": next((each["n_examples"] for each in record["data"] if each["split"] == split), None),
        "n_draws": line.get("n_draws", 1),
        "is_oracle": line.get("criterion") == "ablation" and line.get("scored_on") == split,
        "points": points,
    }


def _point(point: Record, counts: HeadCounts) -> dict[str, Any]:
    heads = point["heads_pruned"]
    measured = {"n": point["n_pruned"], "value": point["value"], "low": point.get("low"), "high": point.get("high")}
    return {**measured, "heads": None if heads is None else places(heads, counts)}


def _name(line: Line) -> str:
    return line.label if "criterion" in line.about else _criterion(line.record)


def _criterion(record: Record) -> str:
    asked = record["configuration"]
    if asked.get("heads"):
        return "heads named by hand"
    return asked["criterion"] + (f" ({asked['estimator']})" if asked.get("estimator") else "")


def _base(run: Run, counts: HeadCounts) -> Iterator[dict[str, Any]]:
    """The metrics of the model with all heads that it has."""
    record = run.record

    def base(split: str, metric: str, value: float, ends: Sequence[float] | None, n: int | None) -> dict[str, Any]:
        low, high = ends or (None, None)
        where = data_name(record["task"], split).replace("_", " ")
        return {"where": where, "metric": metric.replace("_", " "), "value": value, "low": low, "high": high, "n": n}

    if run.command == "evaluate" and not record["heads_pruned"]:
        for name, value in record["metrics"].items():
            yield base(record["split"], name, value, record["intervals"][name], record["n_examples"])
    elif run.command == "run":
        for row in record["rows"]:
            yield base(row["split"], row["metric"], row["base"], row.get("base_interval"), row["n_examples"])
    elif run.command == "ablate":
        for table in record["tables"]:
            ends = table.get("base_interval")
            yield base(table["split"], table["metric"], table["base"], ends, table["n_examples"])
    elif run.command == "curve":
        n = {each["split"]: each["n_examples"] for each in record["data"]}
        for split, (line, *_) in lines(record).items():
            first = line.points[0]
            ends = [first["low"], first["high"]] if line.about["n_draws"] == 1 else None
            yield base(split, record["headline"], first["value"], ends, n.get(split))


def _first_with_interval(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a metric and split: one that has an interval, if there is one."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["low"] is None):
        found.setdefault((row["where"], row["metric"]), row)
    return sorted(found.values(), key=lambda row: rows.index(row))


def _examples(run: Run, counts: HeadCounts) -> Iterator[dict[str, Any]]:
    """Contents of examples.json: examples, and of each head those whose answer it changes most."""
    about = {"kind": run.record.get("kind"), "task": run.record.get("task")}
    files = run.files.get("examples", {})
    for split in files.get("splits", [files] if "examples" in files else []):
        if [len(row) for row in split["heads"]] != list(counts):
            raise ValueError(f"the examples must have {list(counts)} heads a layer")
        yield {**split, **about}


def _texts(run: Run, counts: HeadCounts) -> Iterator[dict[str, Any]]:
    """The sentences of `prune-heads look`."""
    for text in run.record.get("texts") or ():
        if not isinstance(text["tokens"], list):
            raise ValueError("tokens must be a list")
        yield text


def _missing(runs: Sequence[Run], data: dict[str, Any]) -> list[dict[str, str]]:
    """What the page cannot show, and the command that measures it."""
    there = {run.command for run in runs}
    asked: Record = next((run.record["configuration"] for run in runs if "configuration" in run.record), {})
    of = {name: asked.get(name) for name in ("model", "task")}
    who = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in of.items() if value)
    units = {column["unit"] for column in data["columns"]}
    wanted = (
        (not any(each["low"] is not None for each in data["base"]), "the interval of the base metric", "evaluate"),
        ("ablate" not in there, "what masking each head changes", "ablate"),
        ("ablate" in there and "nats" not in units, "the change in log-likelihood; the record is older", "ablate"),
        (not any(each["points"][1:] for each in data["orders"]), "the metric as heads are pruned", "curve"),
        (data["costs"] is None, "parameters and multiply-adds; the records are older", "curve"),
        (not data["examples"], "the examples whose answer each head changes most", "ablate"),
        (not data["texts"], "attention on sentences of your own", 'look "your sentence"'),
        ("roles" not in there, "the role of each head", "roles"),
        ("similar" not in there, "which heads do the same work", "similar"),
    )
    return [{"what": what, "how": f"prune-heads {how}{who} -o FOLDER"} for holds, what, how in wanted if holds]
