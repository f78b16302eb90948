"""What every form of a table of ablations shares: its cells, its marks and its sentences.

A record holds differences of metrics; people read points, a hundredth of the metric, with a sign. Layers and heads
are numbered from 1, a layer by its row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prune_heads.reporting.layout import layer_names, metric_name

SIGNIFICANT, CORRECTED = "*", "#"
"""Marks of a head that is significant by itself, and of one that stays so after Holm's correction."""
ABSENT = "-"
"""Stands where a head was removed before, or not asked for."""

KINDS = {"without-one": "without one head", "only-one": "with one head alone in its layer"}
"""Kind of ablation -> what was measured."""

_POINT = {"log_likelihood": "0.01 nat a token"}
"""Metric -> what a point of it is, where it is not a share."""

_GAINS = {
    "without-one": "heads whose removal helps",
    "only-one": "heads that do better alone than their whole layer",
}


@dataclass(frozen=True)
class Cell:
    """A difference and how sure it is."""

    delta: float
    """Metric with the mask minus metric without."""
    significant: bool
    """Whether p < alpha, uncorrected."""
    corrected: bool
    """Whether Holm's p < alpha, over all heads of the table."""

    @property
    def mark(self) -> str:
        """One character, or none."""
        return CORRECTED if self.corrected else SIGNIFICANT if self.significant else ""

    def __str__(self) -> str:
        return points(self.delta) + self.mark


@dataclass(frozen=True)
class Best:
    """The best head of a layer, chosen on another split; a row of the paper's tables 3 and 6."""

    layer: int | str
    """A number, or `E:3` in an encoder-decoder."""
    head: int
    cell: Cell
    low: float
    high: float
    p_holm: float
    here_head: int
    """The head that looks best on the very split of the table."""
    here_delta: float

    def texts(self) -> tuple[str, ...]:
        """One string a column of `BEST_HEADING`."""
        interval = f"{points(self.low)} to {points(self.high)}"
        chosen = (str(self.layer), str(self.head), str(self.cell), interval, f"{self.p_holm:.2g}")
        return (*chosen, str(self.here_head), points(self.here_delta))


BEST_HEADING = ("layer", "head", "difference", "95% interval", "p (Holm)", "best here", "difference here")


def points(delta: float, digits: int = 2) -> str:
    """A difference in points, e.g. `-1.48`; no sign where nothing changed."""
    return f"{100 * delta:+.{digits}f}" if delta else f"{0:.{digits}f}"


def cells(table: Mapping[str, Any]) -> list[list[Cell | None]]:
    """One row a block, one cell a head; None where the head was not measured."""
    rows = zip(table["delta"], table["p_value"], table["p_adjusted"]["holm"], strict=True)
    return [
        [
            None if delta is None else Cell(delta, p < table["alpha"], holm < table["alpha"])
            for delta, p, holm in zip(*row, strict=True)
        ]
        for row in rows
    ]


def layers(table: Mapping[str, Any]) -> Iterator[tuple[str, list[Cell | None]]]:
    """Each layer, `3` or `E:3`, and its cells, padded to the widest; layers not measured are left out."""
    rows = cells(table)
    width = max(map(len, rows))
    for name, row in zip(layer_names(table), rows, strict=True):
        if any(row):
            yield name, row + [None] * (width - len(row))


def best_rows(table: Mapping[str, Any]) -> list[Best]:
    """The table's `best`; empty where nothing was chosen on another split."""
    return [
        Best(
            row["layer"],
            row["head"],
            Cell(row["delta"], row["p_value"] < table["alpha"], row["p_holm"] < table["alpha"]),
            row["low"],
            row["high"],
            row["p_holm"],
            row["best_here"]["head"],
            row["best_here"]["delta"],
        )
        for row in table["best"] or ()
    ]


def sentence(words: str) -> str:
    """Words of a table's foot as a sentence of a text."""
    return f"{words[0].upper()}{words[1:]}."


def title(record: Mapping[str, Any]) -> str:
    """Whose table it is, e.g. `minilm on mnli: accuracy without one head, difference in points (0.01)`."""
    metric = metric_name(record)
    return (
        f"{record['model']['name']} on {record['task']}: {metric} {KINDS[record['kind']]}, "
        f"difference in points ({_POINT.get(record['headline'], '0.01')})"
    )


def subtitle(table: Mapping[str, Any]) -> str:
    """Split, examples and base."""
    return f"{table['split']}, {table['n_examples']:,} examples, {table['base']:.4f} with all heads"


def best_title(table: Mapping[str, Any]) -> str:
    """How the heads of `best` were chosen."""
    first = table["best"][0]
    return (
        f"the best head of each layer, chosen on {first['chosen_examples']:,} examples of {first['chosen_on']}, "
        f"tested on {table['split']}"
    )


def best_note(table: Mapping[str, Any]) -> str:
    """What the marks and the last columns of `best` mean."""
    marks = _marks(table, f"{len(table['best'])} layers")
    return f"{marks}; best here: the head that this very split would choose, which flatters it"


def legend(table: Mapping[str, Any]) -> str:
    """What the marks mean."""
    holes = any(cell is None for _, row in layers(table) for cell in row)
    return _marks(table, f"{len(_measured(table))} heads") + (f"; {ABSENT} not measured" if holes else "")


def counts(table: Mapping[str, Any]) -> str:
    """How many heads help when they go (or stay alone), and how many are significant."""
    found = _measured(table)
    alpha = table["alpha"]
    bh = sum(p < alpha for row in table["p_adjusted"]["bh"] for p in row if p is not None)
    return (
        f"{_GAINS[table['kind']]}: {sum(cell.delta > 0 for cell in found)} of {len(found)}; significant at "
        f"p < {alpha:g}: {sum(cell.significant for cell in found)}, after Holm "
        f"{sum(cell.corrected for cell in found)}, after Benjamini-Hochberg {bh}"
    )


def correlations(record: Mapping[str, Any]) -> list[str]:
    """One sentence a pair of splits."""
    return [
        f"correlation of {pair['n_heads']} differences on {pair['first']} and {pair['second']}: Pearson r "
        f"{interval(pair, 'pearson')}, Spearman {interval(pair, 'spearman')}"
        for pair in record["correlations"]
    ]


def interval(correlation: Mapping[str, Any], name: str, words: str = "95% interval ") -> str:
    """One of the two correlations of a pair, with its interval, or why there is none.

    Args:
        correlation: `Correlation.to_json()`, or more.
        name: `pearson` or `spearman`.
        words: Before the interval; none where a heading says it.
    """
    found = correlation[name]
    if found["value"] is None:
        few = correlation["n_heads"] < 4
        return f"undefined ({'fewer than four heads' if few else 'one side is constant'})"
    return f"{found['value']:.2f} ({words}{found['low']:.2f} to {found['high']:.2f})"


def flips(record: Mapping[str, Any]) -> str | None:
    """How many predictions the reduced precision flips; None in float32, and for scores."""
    found = record["flips"]
    if found is None:
        return None
    return (
        f"predictions that {found['dtype']} flips: {found['n_flipped']:,} of {found['n_predictions']:,} "
        f"({found['n_examples']:,} examples of {found['split']}, {found['n_masks']} masks)"
    )


def _marks(table: Mapping[str, Any], family: str) -> str:
    return (
        f"marked {SIGNIFICANT} where p < {table['alpha']:g} ({table['test']} test), {CORRECTED} where it stays so "
        f"after Holm's correction over {family}"
    )


def _measured(table: Mapping[str, Any]) -> list[Cell]:
    return [cell for row in cells(table) for cell in row if cell]
