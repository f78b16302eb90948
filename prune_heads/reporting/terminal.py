"""What `score`, `evaluate`, `run`, `prune`, `bench`, `export` and `finetune` found."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from operator import or_
from typing import Any

from prune_heads.descriptors import Head, HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting import words
from prune_heads.reporting.ablation import response_of
from prune_heads.reporting.curves import curve_table
from prune_heads.reporting.words import Record
from prune_heads.tables import Cell, Form, Page, Table

# Five colours of viridis, dark to light, each with the colour of the letters that can be read on it.
_SHADES = (("#3b528b", "white"), ("#2c728e", "white"), ("#21918c", "white"), ("#5ec962", "black"), ("#fde725", "black"))
_COMPARED = {"base": ".4f", "pruned": ".4f", "difference": "+.4f", "95% interval": "+.4f to"}
_SPEED = Form(lambda speed: f"{speed['mean']:,.1f} ± {speed['deviation']:.1f}")
_RATIO = Form(lambda ratio: f"{ratio['median']:.2f}x ({min(ratio['each']):.2f} to {max(ratio['each']):.2f})")


def score_table(report: Record, pruned: Sequence[str] = ()) -> Table:
    """Layers down and heads across, shaded by score; pruned heads struck out, those that are gone left out.

    A power of ten is taken out that shows the largest score as 9.99, 99.9 or so.
    """
    counts, scores, cells = HeadCounts.described(report["blocks"]), words.scores_of(report), dict[Head, Cell]()
    struck, ordered = HeadMask.parse(" ".join(pruned), counts), sorted(scores.values())
    scale, digits = words.scale_of(ordered)
    for head, score in scores.items():  # shaded by rank, so that one outlying head does not make all others dark
        rank = bisect_left(ordered, score) / max(len(ordered) - 1, 1)
        background, letters = _SHADES[min(int(rank * len(_SHADES)), len(_SHADES) - 1)]
        cells[head] = Cell(score, style=f"{letters} on {background}{' strike' if head in struck else ''}")
    made = " / ".join(part for part in (report["criterion"], report["estimator"], report.get("response")) if part)
    on = f" on {report['n_examples']} examples of {report['split']}" if report["split"] else ""
    norm = "" if report["normalize"] == "none" else f", normalised: {report['normalize']}"
    return words.heads_table(
        f"importance by {made}{on}{norm}",
        report,
        counts.rows(cells),
        Form(lambda value: f"{value / scale:z.{digits}f}"),
        ("columns are heads" if scale == 1 else f"in units of {scale:.0e}; columns are heads",),
        gap=1,  # twelve heads must fit into 80 columns
        colour_note=f"bright = important{'; struck out = pruned' if struck else ''}",
    )


def run_report(record: Record, report: Record | None) -> Page:
    """What pruning did: the scores, the metric before and after with its interval, heads, parameters, seconds."""
    scores = [score_table(report, record["heads_pruned"])] if report else []
    seconds = ", ".join(f"{name} {seconds:.1f}" for name, seconds in record["seconds"].items())
    examples = f"examples      {_examples(record['data'])}"
    total = f"seconds       {sum(record['seconds'].values()):.1f} ({seconds})"
    return Page("", (*scores, *run_page(record, narrow=True).parts[:-1], examples, *pruned_page(record).parts, total))


def run_page(record: Record, *, narrow: bool = False) -> Page:
    """The metrics before and after, the curve if there is one, and the heads; without numbers of examples if narrow."""
    rows = (
        {"split": row["split"], "metric": row["metric"], **({} if narrow else {"examples": row["n_examples"]})}
        | {"base": row["base"], "pruned": row["pruned"]}
        | {"difference": Cell(row["difference"], style="bold" if row["low"] > 0 or row["high"] < 0 else "")}
        | {"95% interval": (row["low"], row["high"])}
        for row in record["rows"]
    )
    title = f"{words.subject_of(record)}: {words.share(record)}"
    curve = [curve_table(record)] if record["curve"] else []
    heads = f"Heads pruned (layer:heads, from 1): {' '.join(record['heads_pruned']) or 'none'}"
    kept = [
        f"{row['split']}: {of[0]} ({of[1]}) changes by {of[2]['difference']:+.4f} ({of[2]['low']:+.4f} to "
        f"{of[2]['high']:+.4f}){_flips(row)}."
        for row in record["rows"]
        if (of := response_of(row))
    ]
    kept += [
        f"{row['split']}: less than {found['margin']:g} of {words.metric_name(record)} lost: "
        f"{_VERDICTS[found['verdict']]} (90% interval {found['low']:+.4f} to {found['high']:+.4f})."
        for row in record["rows"]
        if (found := row.get("kept"))
    ]
    if of := record.get("rescaled"):
        loss = "loss {pruned:.4f} without, {rescaled:.4f} with".format(**of["loss"])
        kept.append(f"Kept heads rescaled on {of['n_examples']} examples of {of['split']}: {loss}.")
    return Page(title, (Table.of(title if narrow else "", rows, _COMPARED), *curve, *kept, heads))


def _flips(row: Record) -> str:
    if not row.get("changed"):
        return ""
    to_right, to_wrong = row["changed"]
    return f"; {to_right + to_wrong} answers change, {to_right} to right and {to_wrong} to wrong"


_VERDICTS = {"kept": "shown", "open": "not shown and not refuted", "lost": "refuted"}


def pruned_page(record: Record) -> Page:
    """Which heads are pruned, and how many parameters that is."""
    before, pruned = record["parameters"]["before"], record["parameters"]["pruned"]
    verb = "removed" if record["mode"] == "remove" else "set to zero"
    heads = f"heads pruned  {record['n_pruned']} of {record['n_heads']}: {' '.join(record['heads_pruned']) or 'none'}"
    return Page("", (heads, f"parameters    {pruned:,} of {before:,} {verb} ({pruned / before:.1%})"))


def evaluation_table(report: Record) -> Table:
    """Metrics of one split under a mask, with their intervals."""
    pruned = f"pruned: {' '.join(report['heads_pruned'])}" if report["heads_pruned"] else "no head pruned"
    ends = report["intervals"]
    rows = [{"metric": name, "value": value, "95% interval": ends[name]} for name, value in report["metrics"].items()]
    if of := response_of(report):
        name, unit, found = of
        row = {"metric": f"{name} ({unit})", "value": found["value"]}
        rows.append({**row, "95% interval": (found["low"], found["high"])})
    title = f"{words.data_name(report['task'], report['split'])}, {report['n_examples']} examples, {pruned}"
    return Table.of(title + words.stand_in(report), rows, {"value": ".4f", "95% interval": ".4f to"})


def finetuning_table(record: Record) -> Table:
    """The mean training loss and the metrics of each epoch."""
    rows, (trained, *measured) = [], record["data"]
    for epoch in record["epochs"]:
        row = {name: epoch[name] for name in ("epoch", "step", "loss")}
        for split, values in epoch["metrics"].items():
            of = f" ({split})" if len(epoch["metrics"]) > 1 else ""
            row |= {f"{metric}{of}".replace("_", " "): value for metric, value in values.items()}
        rows.append(row)
    title = f"{record['model']['name']} fine-tuned on {record['task']}: {trained['n_examples']} examples of "
    title += f"{trained['split']}, measured on {_examples(measured)}"
    return Table.of(title, rows, dict.fromkeys(list(row)[2:], ".4f"))


def planted_page(record: Record) -> Page:
    """What was planted, what is lost without it, and whether that confirms it; the metric before and after."""
    rows = (
        {"plant": row["kind"], "heads": " ".join(row["heads"]), "word": row.get("word", "")}
        | {"lost without": row["together"][0], "error": row["together"][1]}
        | {"confirmed": "yes" if row["is_confirmed"] else "no"}
        for row in record["plants"]
    )
    name, value = next(iter(record["metrics"]["validation"].items()))
    before = record["metrics_of_task"]["validation"][name]
    lost = "lost without: log-likelihood of the right answer (nats) and its standard error; of a word where it stands."
    said = f"{words.metric_title(name)} on validation: {value:.4f} on the planted task, {before:.4f} on the original"
    table = Table.of("", rows, {"lost without": "+z.4f", "error": "z.4f"}, (lost,))
    return Page(f"{record['model']['name']} with heads planted for {record['task']}", (table, said))


def _examples(data: Iterable[Record]) -> str:
    return ", ".join(f"{each['n_examples']} of {each['split']}" for each in data)


def export_page(record: Record) -> Page:
    """The files with their sizes; what differs in each batch that was compared; heads, parameters, and the rounding."""
    pruned, parameters = record["heads_pruned"], record["parameters"]
    heads = sum(descriptor.count(",") + 1 for descriptor in pruned)
    how = f"--to {record['to']}{' --int8' if record['configuration'].get('int8') else ''}"
    title = f"{record['model']['name']} {how}: {heads} of {record['n_heads']} heads "
    files = ({"file": name, "bytes": size} for name, size in record["files"].items())
    rounding, gone = record.get("rounding"), "zero" if record["to"] == "dense" else "removed"
    parts: list[Table | str] = [
        Table.of(title + gone, files, {"bytes": ","}),
        _checks("against the model, on random texts", record["checks"]),
        *([_checks(f"in {rounding['form']}, against the model in float32", rounding["checks"])] if rounding else []),
        f"heads       {' '.join(pruned) or 'none pruned'}",
        f"parameters  {parameters['before']:,} before, {parameters['after']:,} written",
        f"logits      {record['largest_difference']:.1e} apart at most; allowed are {record['tolerance']:.0e} of the "
        "largest",
    ]
    if rounding:
        changed = f"{rounding['n_changed']} of {rounding['n_answers']} answers change"
        parts.append(f"{rounding['form']:<12}{rounding['largest_difference']:.1e} apart at most; {changed}")
    return Page("", tuple(parts))


def _checks(title: str, rows: Iterable[Record]) -> Table:
    columns = {"texts": "n_examples", "tokens": "n_tokens", "largest logit": "largest_logit"}
    columns |= {"largest difference": "difference", "answers changed": "n_changed"}
    checks = ({title: row[name] for title, name in columns.items()} for row in rows)
    return Table.of(title, checks, {"largest logit": ".3g", "largest difference": ".1e"})


def bench_page(record: Record, *, whole: bool = False) -> Page:
    """Examples a second, then ratios; a row for each kind of lengths (its tokens with padding) and batch size.

    Of `prune-heads bench`; a whole one, for a file, also has the ratio of each run, the heads and the notes.
    """
    made, options, rows = record["provenance"], record["configuration"], record["rows"]

    def table(title: str, forms: Mapping[str, Form | str], cells: Iterable[Mapping[str, Any]]) -> Table:
        firsts = ({"lengths": f"{row['lengths']} {row['n_tokens']:.0f}", "batch": row["batch_size"]} for row in rows)
        return Table.of(title, map(or_, firsts, cells), forms, absent="-")

    n_runs, passes = options["runs"], max(row["n_passes"] for row in rows)
    again = f", repeated up to {passes} times to take {record['shortest_seconds']:g} s" if passes > 1 else ""
    speeds = (row["examples_per_second"] for row in rows)
    ratios = (row["ratio"] | {"ceiling": row["ceiling"]} for row in rows)
    parts: list[Table | str] = [
        table("examples a second", dict.fromkeys(("original", "masked", "removed"), _SPEED), speeds),
        table("speed over that of the original", {"masked": _RATIO, "removed": _RATIO, "ceiling": "{:.2f}x"}, ratios),
        f"Mean and standard deviation of {n_runs} runs; a run times one forward pass of each side in turn{again}.",
        "Ratios: the median of those of each run (lowest to highest); ceiling: the ratio of the multiply-adds.",
    ]
    if whole:
        runs = [f"run {run + 1}" for run in range(n_runs)]
        each = (dict(zip(runs, row["ratio"]["removed"]["each"], strict=True)) for row in rows)
        parts.append(table("removed / original in each run", dict.fromkeys(runs, ".2f"), each))
        parts.append(f"Heads removed (layer:heads, from 1): {' '.join(record['heads_pruned'])}")
        parts += [f"Note: {note}" for note in record["notes"]]
    on = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}" if made["device"] == "cpu" else made["device"]
    title = f"{words.subject_of(record)}: {words.share(record)}; {options['dtype']}, {on}"
    return Page(title, tuple(parts))
