"""Published claims about criteria beside what `prune-heads compare` found."""

from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from prune_heads.paper import published
from prune_heads.reporting.comparison import FORMS, mean_difference, named
from prune_heads.reporting.words import Record, Row
from prune_heads.tables import Table


def claims_table(record: Record) -> Table:
    """A row a claim, of the subjects on which both of its criteria were compared; none where there is no such.

    A claim is `supported` where the interval of the difference of the areas lies on its side of 0, `contradicted` where
    it lies on the other side, else `open`. Its side is that of its mean over the percents that were published.
    """
    rows = list(_rows(record))
    sizes = dict.fromkeys(f"{subject['name']} ({subject['n_heads']} heads)" for subject in record["subjects"])
    note = "Points of the metric at these percents of the heads pruned; area: of the whole curves, the mean over "
    note += f"subjects ± half of the 95% interval, which the verdict goes by. Ours: {', '.join(sizes)}."
    return Table.of("Published claims", rows, FORMS, (note,))


def _rows(record: Record) -> Iterator[Row]:
    for claim in published("claims.toml")["claim"]:
        pair = (claim["first"], claim["second"])
        on = [subject for subject in record["subjects"] if {*pair} <= named(subject).keys()]
        if on:
            value, half = mean_difference(on, *pair)
            agrees = value * mean(claim["gain"]) > 0
            verdict = "open" if abs(value) <= half else "supported" if agrees else "contradicted"
            theirs = dict(zip(claim["percent"], claim["gain"], strict=True))
            about = {"claim": claim["text"], "source": claim["source"], "published": _points(theirs)}
            ours = {"ours": _points(_at(on, pair, theirs)), "area": (value, half)}
            yield {**about, **ours, "subjects": len(on), "verdict": verdict}


def _at(subjects: list[Any], pair: tuple[str, str], percents: Mapping[float, float]) -> dict[float, float]:
    """Percent -> the mean difference there, of those at which our curves have a point."""
    of_each = [{n: {p["percent"]: p["value"] for p in c["points"]} for n, c in named(s).items()} for s in subjects]
    first, second = pair
    there = [percent for percent in percents if all(percent in of[first] for of in of_each)]
    return {percent: 100 * mean(of[first][percent] - of[second][percent] for of in of_each) for percent in there}


def _points(by_percent: Mapping[float, float]) -> str:
    return ", ".join(f"{value:+.2f} at {percent:g}%" for percent, value in by_percent.items())
