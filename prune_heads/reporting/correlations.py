"""What `prune-heads correlate` found."""

from collections.abc import Mapping
from typing import Any

from prune_heads.reporting.words import interval
from prune_heads.tables import Page, Table, columns


def correlation_page(report: Mapping[str, Any]) -> Page:
    """The series, numbered from 1; the pairs, by these numbers, with what they stand for in a pair."""
    numbers = {series["name"]: number for number, series in enumerate(report["series"], start=1)}
    series = [
        (str(numbers[each["name"]]), each["name"], each["source"], str(each["n_heads"]))
        for each in report["series"]
    ]
    pairs = [
        (
            *(f"{numbers[pair[side]]}: {pair[f'{side}_measure']}" for side in ("first", "second")),
            str(pair["n_heads"]),
            interval(pair, "pearson", words=""),
            interval(pair, "spearman", words=""),
        )
        for pair in report["correlations"]
    ]
    of_series = columns(["series", "what", "from"], ["heads"])
    of_pairs = columns(["first", "second"], ["heads", "Pearson r (95%)", "Spearman (95%)"])
    return Page(
        "Correlation of measurements of the same heads",
        (Table("", of_series, tuple(series)), Table("", of_pairs, tuple(pairs), n_keys=2)),
    )
