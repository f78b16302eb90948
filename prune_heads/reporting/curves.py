"""Curves of several criteria, what a record holds of them, and their page; the page of `prune-heads correlate`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

from prune_heads.reporting.ablation import response_of
from prune_heads.reporting.words import Record, Row, interval, metric_name, number_of, subject_of, with_number, within
from prune_heads.statistics.margins import kept_up_to
from prune_heads.tables import Form, Page, Table
from prune_heads.visible import csv_of

REACHED = ("shown up to, %", "open up to, %", "refuted from, %")
_AGREEMENT = {
    "Pearson r (95% interval)": Form(lambda pair: interval(pair, "pearson", "")),
    "Spearman (95% interval)": Form(lambda pair: interval(pair, "spearman", "")),
}


@dataclass(frozen=True)
class Line:
    """A line of a curve, on one split."""

    record: Record
    about: Record  # what the record says of it: its points on all splits, criterion and estimator
    split: str

    @cached_property
    def points(self) -> list[Record]:
        """By share pruned."""
        return sorted((p for p in self.about["points"] if p["split"] == self.split), key=lambda p: p["percent"])

    @cached_property
    def values(self) -> dict[float, float]:
        """Share pruned, in percent -> the metric, by share."""
        return {point["percent"]: point["value"] for point in self.points}

    @property
    def shares(self) -> list[float]:
        """Where the points stand on an axis by share, in percent: by the heads that are gone there.

        What was asked for is rounded down to whole heads: 10% of 24 are 2, at 8.3%; of the heads of `--blocks`, if any.
        """
        counts = [point["n_pruned"] for point in self.points]
        beside = counts[0] if self.record.get("configuration", {}).get("blocks") else 0
        return [100 * (n - beside) / max(self.record.get("n_heads", counts[-1]) - beside, 1) for n in counts]

    @cached_property
    def ends(self) -> tuple[list[float], list[float]] | None:
        """Where the 95% interval of the metric, or the band of several draws, begins and ends at each point.

        Records of `run` and of estimators had no intervals before. Those of accuracy follow from the number of examples
        (`wilson`); others are unknown.
        """
        if "low" in self.points[0]:
            return [point["low"] for point in self.points], [point["high"] for point in self.points]
        n = number_of(self.record, self.split)
        if self.record["headline"] != "accuracy" or not n:
            return None
        low, high = zip(*(wilson(share, n) for share in self.values.values()), strict=True)
        return list(low), list(high)

    @property
    def measured_on(self) -> str:
        """The split, and how many examples: `matched, n = 9,815`."""
        return with_number(self.split, number_of(self.record, self.split))

    @property
    def kept(self) -> Record | None:
        """How far less than a margin is lost, see `kept_of` of the studies; None where that was not asked."""
        return next((each for each in self.about.get("kept") or () if each["split"] == self.split), None)

    @property
    def label(self) -> str:
        """What to call it, e.g. `gradient (example), re-scored`, `random (20 draws)`.

        Ablations are an oracle on the split that they were measured on; on another one it is said where they were.
        """
        line = self.about
        details = [line["estimator"]] if line["estimator"] else []
        if line["criterion"] == "ablation":
            measured = line["scored_on"]
            details.append("oracle" if measured == self.split else measured.removeprefix("validation_"))
        if line["n_draws"] > 1:
            details.append(f"{line['n_draws']} draws")
        name = line["criterion"] + (f" ({', '.join(details)})" if details else "")
        return f"{name}, re-scored" if line["rescored"] else name


def wilson(share: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% score interval of a share of `n` examples (Wilson, 1927)."""
    middle, width = share + z**2 / (2 * n), z * (share * (1 - share) / n + (z / (2 * n)) ** 2) ** 0.5
    return (middle - width) / (1 + z**2 / n), (middle + width) / (1 + z**2 / n)


def lines(record: Record) -> dict[str, list[Line]]:
    """Split -> its lines, in the record's order, of `prune-heads curve`, or of `prune-heads run --curve`."""
    found = record.get("lines")
    if found is None:
        asked, on = record["configuration"], record["scored_on"]
        by = record.get("ordered_by") or {name: asked[name] for name in ("criterion", "estimator")}
        about = {**by, "scored_on": on and on["split"]}
        points = [{**point, "value": point[record["headline"]]} for point in record["curve"]]
        found = [{**about, "rescored": False, "n_draws": 1, "points": points}]
    splits = dict.fromkeys(point["split"] for line in found for point in line["points"])
    return {split: [Line(record, line, split) for line in found] for split in splits}


def reached(kept: Record | None, at: Sequence[float]) -> Row:
    """Where on a curve, of points `at` shares: how far a loss below the margin is shown, open, and from where refuted.

    None for not even the first point, for nothing that is open, for nowhere; and where it was not tested.
    """
    if kept is None:
        return dict.fromkeys(REACHED)
    n, lost = kept_up_to([point["verdict"] for point in kept["points"]])
    shown, still = (at[end - 1] if end else None for end in (n, lost if lost > n else 0))
    return dict(zip(REACHED, (shown, still, at[lost] if lost < len(at) else None), strict=True))


def pruned(record: Record) -> str:
    """What the share is of: `heads pruned`, or `heads of blocks E pruned` where only these go."""
    blocks = record.get("configuration", {}).get("blocks")
    if blocks is None:
        return "heads pruned"
    noun = "block" if len(blocks) == 1 and not blocks[0].isalpha() else "blocks"
    return f"heads of {noun} {', '.join(blocks)} pruned"


def by_percent(named: Mapping[str, Line], of: Callable[[Record], Any] = itemgetter("value")) -> dict[float, Row]:
    """Share pruned, in percent -> `heads`, how many, and the metric of each line, or what `of` takes of a point."""
    found = {name: {point["percent"]: of(point) for point in line.points} for name, line in named.items()}
    counts = {point["percent"]: point["n_pruned"] for line in reversed(list(named.values())) for point in line.points}
    values = {percent: {name: values.get(percent) for name, values in found.items()} for percent in sorted(counts)}
    return {percent: {"heads": counts[percent], **row} for percent, row in values.items()}


def curve_page(record: Record) -> Page:
    """A table a split of `prune-heads curve`: shares of heads down, criteria across, the area in the last row.

    Below, how the scores of the criteria agree.
    """
    tables = []
    for split, of_split in lines(record).items():
        named = {line.label: line for line in of_split}
        areas = {name: line.about["areas"].get(split) for name, line in named.items()}
        rows: list[Row] = [{"pruned": f"{percent:g}%", **row} for percent, row in by_percent(named).items()]
        rows.append({"pruned": "area", **areas})
        tables.append(Table.of(split, rows, dict.fromkeys(named, ".4f"), n_foot=1))
        if of := response_of(next((point for line in of_split for point in line.points), {})):
            means = by_percent(named, lambda point: found[2]["value"] if (found := response_of(point)) else None)
            rows = [{"pruned": f"{x:g}%", **row} for x, row in means.items()]
            tables.append(Table.of(f"{split}: {of[0]}, mean ({of[1]})", rows, dict.fromkeys(named, ".4f")))
    pairs = record["correlations"]
    agreement = [{"scores": f"{pair['first']} and {pair['second']}"} | _agreement(pair) for pair in pairs]
    below = [Table.of("Correlation of the scores before any head goes", agreement, _AGREEMENT)] if agreement else []
    mean = "; mean of several draws" if any(line["n_draws"] > 1 for line in record["lines"]) else ""
    note = f"Shares are rounded down to whole heads; area: under the curve, over the share pruned, 0 to 1{mean}."
    title = f"{subject_of(record)}: {metric_name(record)} by {pruned(record)}"
    return Page(f"{title}, lowest score first", (*tables, note, *_sampled(record), *_kept(record), *below))


def _sampled(record: Record) -> list[Table]:
    """Areas and their differences for other scoring samples, where some were drawn."""
    if not (about := record.get("score_samples")):
        return []
    rows = (
        {"split": row["split"], "area": row["first"] + (f" - {row['second']}" if row["second"] else "")}
        | {"value": row["value"], "95% interval": (row["low"], row["high"])}
        for row in (row if row["second"] else within(record["headline"], row) for row in record["sampled_areas"])
    )
    sizes = ", ".join(f"{name} {max(each):,}" for name, each in about["n_examples"].items())
    how = "disjoint samples, their mean" if about["disjoint"] else "resamples, around that of the curve"
    note = f"{record['configuration']['score_samples']} {how}; examples of each: {sizes or 'none needed'}."
    forms = {"value": "+.4f", "95% interval": "+.4f to"}
    return [
        Table.of("Areas, for other scoring samples and other examples", rows, forms, (note + few_of(record),), n_keys=2)
    ]


def few_of(record: Record) -> str:
    """A sentence on how many examples the curves of scoring samples were measured, where not on all of them."""
    pairs = zip(record.get("score_samples", {}).get("measured_on", ()), record.get("data", ()), strict=False)
    few = (f"{n:,} of {d['n_examples']:,} examples of {d['split']}" for n, d in pairs if n < d["n_examples"])
    return f" Measured on {said}." if (said := " and ".join(few)) else ""


def _kept(record: Record) -> list[Table]:
    """How many heads each criterion may take for a loss below the margin, where one was named."""
    rows = [
        {"criterion": line["criterion"], "split": each["split"]}
        | {"shown up to": _n(each["n_kept"], "no head"), "refuted from": _n(each["n_lost"], "nowhere")}
        for line in record["lines"]
        for each in line.get("kept") or ()
    ]
    margin = record.get("configuration", {}).get("margin")
    note = "One-sided, at 5% each, from few heads to many, up to the first point that is not shown; open in between."
    return [Table.of(f"{metric_name(record)} falls by less than {margin:g}", rows, notes=(note,))] if rows else []


def _n(n: int | None, nothing: str) -> str:
    return nothing if n is None else f"{n} heads"


def curve_table(record: Record) -> Table:
    """The only line of a curve on each of its splits, a row a point: percent, heads, and the headline metric."""
    of_splits = {split: line for split, (line,) in lines(record).items()}
    rows = ({"pruned": percent, **row} for percent, row in by_percent(of_splits).items())
    forms = {"pruned": "{:g}%", **dict.fromkeys(of_splits, ".4f")}
    return Table.of(f"{record['headline']} by heads pruned, lowest score first", rows, forms)


def correlation_page(report: Record) -> Page:
    """The series, numbered from 1; the pairs, by these numbers, with what they stand for in a pair."""
    numbers = {series["name"]: number for number, series in enumerate(report["series"], start=1)}
    series = (
        {"series": numbers[each["name"]], "what": each["name"], "from": each["source"], "heads": each["n_heads"]}
        for each in report["series"]
    )
    pairs = (
        {side: f"{numbers[pair[side]]}: {pair[f'{side}_measure']}" for side in ("first", "second")} | _agreement(pair)
        for pair in report["correlations"]
    )
    tables = Table.of("", series), Table.of("", pairs, _AGREEMENT, n_keys=2)
    return Page("Correlation of measurements of the same heads", tables)


def _agreement(pair: Record) -> dict[str, Any]:
    return {"heads": pair["n_heads"], **dict.fromkeys(_AGREEMENT, pair)}


def curve_csv(record: Record) -> str:
    """In long form, numbers in full: one row a point; of several draws, `value` is the mean and the interval theirs."""
    of_line = ("criterion", "estimator", "rescored", "scored_on", "n_draws")
    of_point = ("split", "percent", "n_pruned", "value", "low", "high")
    return csv_of(
        {name: line[name] for name in of_line} | {name: point[name] for name in of_point}
        for line in record["lines"]
        for point in line["points"]
    )
