"""Ablations: layers down, heads across, as the paper's table 1; below, the best head of each layer.

A record holds differences of metrics; people read points, a hundredth of the metric, with a sign. Layers and heads
are numbered from 1, a layer by its row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from prune_heads.reporting.words import interval, layer_names, metric_name, sentence
from prune_heads.tables import MARKED, Cell, Column, Form, Page, Table
from prune_heads.tables.writers import written

SIGNIFICANT, CORRECTED = "*", "#"
"""Marks of a head that is significant by itself, and of one that stays so after Holm's correction."""
ABSENT = "-"
"""Stands where a head was removed before, or not asked for."""

KINDS = {"without-one": "without one head", "only-one": "with one head alone in its layer"}
"""Kind of ablation -> what was measured."""

_POINT = {"log_likelihood": "0.01 nat a token"}
"""Metric -> what a point of it is, where it is not a share."""
_GAINS = {"without-one": "heads whose removal helps", "only-one": "heads that do better alone than their whole layer"}
_WIDTH = 5
"""Characters of a number in the terminal: sign, point, three digits."""

_OF_HEADS = ("value", "delta", "low", "high", "p_value")
_CHOICE = ("layer", "head", "chosen_on", "chosen_examples", "chosen_value", "chosen_base")
_BEST = (*_CHOICE, "delta", "low", "high", "p_value", "p_holm", "p_bh")


@dataclass(frozen=True)
class Difference:
    """What masking makes of the metric, and how sure it is."""

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

    def cell(self) -> Cell:
        """With its mark; losses red, gains blue, as in the figures."""
        colour = "red" if self.delta < 0 else "blue"
        style = f"bold white on {colour}" if self.corrected else f"bold {colour}" if self.significant else ""
        return Cell(self.delta, self.mark, style)


def points(delta: float, digits: int = 2) -> str:
    """A difference in points, e.g. `-1.48`; no sign where nothing changed."""
    return f"{100 * delta:+.{digits}f}" if delta else f"{0:.{digits}f}"


_POINTS = Form(points)
_BEST_COLUMNS = tuple(
    Column(name, form, "right")
    for name, form in (
        ("layer", Form(str)),
        ("head", Form(str)),
        ("difference", _POINTS),
        ("95% interval", Form(lambda ends: f"{points(ends[0])} to {points(ends[1])}")),
        ("p (Holm)", Form("{:.2g}".format)),
        ("best here", Form(str)),
        ("difference here", _POINTS),
    )
)


def differences(table: Mapping[str, Any]) -> list[list[Difference | None]]:
    """One row a block, one a head; None where the head was not measured."""
    rows = zip(table["delta"], table["p_value"], table["p_adjusted"]["holm"], strict=True)
    return [
        [
            None if delta is None else Difference(delta, p < table["alpha"], holm < table["alpha"])
            for delta, p, holm in zip(*row, strict=True)
        ]
        for row in rows
    ]


def ablation_page(record: Mapping[str, Any], *, narrow: bool = False) -> Page:
    """All tables of `prune-heads ablate`, the correlations between its splits, and the flips.

    Args:
        record: Of the command.
        narrow: For a terminal, where sixteen heads fit into 110 columns, and twelve into 80: a table with a loss of
            ten points has one decimal less.
    """
    parts: list[Table | str] = []
    for table in record["tables"]:
        notes = (sentence(_legend(table)), sentence(_counts(table)))
        parts.append(_heads(table, _subtitle(table), notes, narrow=narrow))
        if table["best"]:
            best = sentence(_best_title(table)).removesuffix(".")
            parts.append(_best(table, best, (sentence(_best_note(table)),)))
    notes_below = [*_correlations(record), *_flips(record)]
    return Page(_title(record), (*parts, *map(sentence, notes_below)))


def ablation_latex(record: Mapping[str, Any]) -> str:
    """The table of each split, and under it that of the best heads if there is one; significant ones are bold."""
    parts = []
    for table in record["tables"]:
        notes = (f"Layers down, heads across; bold and {_legend(table)}.", sentence(_counts(table)))
        heads = _heads(table, f"{_title(record)}; {_subtitle(table)}", notes)
        parts.append(replace(heads, columns=(Column(""), *heads.columns[1:])))
        if table["best"]:
            whose = f"{record['model']['name']} on {record['task']}: {_best_title(table)}"
            parts.append(_best(table, whose, (f"Bold and {_best_note(table)}.",)))
    return "\n".join(part.to_latex() for part in parts)


def ablation_csv(record: Mapping[str, Any]) -> str:
    """In long form, numbers in full: one row a head and split; heads that were not measured have none."""
    rows = []
    for table in record["tables"]:
        columns = [*(table[name] for name in _OF_HEADS), table["p_adjusted"]["holm"], table["p_adjusted"]["bh"]]
        for layer, of_layer in zip(layer_names(table), zip(*columns, strict=True), strict=True):
            for head, values in enumerate(zip(*of_layer, strict=True), start=1):
                if values[0] is not None:
                    rows.append((table["split"], layer, head, *values))
    return written(("split", "layer", "head", *_OF_HEADS, "p_holm", "p_bh"), rows)


def best_csv(record: Mapping[str, Any]) -> str:
    """One row a layer and split: the head chosen on another split, and the one this split would choose."""
    rows = [
        (table["split"], *(row[name] for name in _BEST), row["best_here"]["head"], row["best_here"]["delta"])
        for table in record["tables"]
        for row in table["best"] or ()
    ]
    return written(("split", *_BEST, "best_here_head", "best_here_delta"), rows)


def _heads(table: Mapping[str, Any], title: str, notes: tuple[str, ...], *, narrow: bool = False) -> Table:
    """The differences on one split; layers that were not measured are left out."""
    rows = differences(table)
    width = max(map(len, rows))
    largest = max(abs(each.delta) for each in _measured(table))
    digits = 1 if narrow and 100 * largest >= 9.995 else 2
    form = Form(lambda delta: f"{points(delta, digits):>{_WIDTH * narrow}}", MARKED.parts)
    names = [str(head + 1) for head in range(width if any(map(any, rows)) else 0)]
    body = [
        (name, *(each and each.cell() for each in row), *[None] * (width - len(row)))
        for name, row in zip(layer_names(table), rows, strict=True)
        if any(row)
    ]
    columns = (Column("layer", style="bold"), *(Column(name, form, "right") for name in names))
    return Table(title, columns, tuple(body), notes, absent=f"{ABSENT:>{_WIDTH * narrow}}", gap=0 if narrow else 2)


def _best(table: Mapping[str, Any], title: str, notes: tuple[str, ...]) -> Table:
    """The best head of each layer, chosen on another split; beside it the one that this split would choose."""
    rows = [
        (
            row["layer"],
            row["head"],
            Difference(row["delta"], row["p_value"] < table["alpha"], row["p_holm"] < table["alpha"]).cell(),
            (row["low"], row["high"]),
            row["p_holm"],
            row["best_here"]["head"],
            row["best_here"]["delta"],
        )
        for row in table["best"]
    ]
    return Table(title, _BEST_COLUMNS, tuple(rows), notes, depth=1)


def _title(record: Mapping[str, Any]) -> str:
    """Whose table it is, e.g. `minilm on mnli: accuracy without one head, difference in points (0.01)`."""
    return (
        f"{record['model']['name']} on {record['task']}: {metric_name(record)} {KINDS[record['kind']]}, "
        f"difference in points ({_POINT.get(record['headline'], '0.01')})"
    )


def _subtitle(table: Mapping[str, Any]) -> str:
    return f"{table['split']}, {table['n_examples']:,} examples, {table['base']:.4f} with all heads"


def _best_title(table: Mapping[str, Any]) -> str:
    """How the heads of `best` were chosen."""
    first = table["best"][0]
    return (
        f"the best head of each layer, chosen on {first['chosen_examples']:,} examples of {first['chosen_on']}, "
        f"tested on {table['split']}"
    )


def _best_note(table: Mapping[str, Any]) -> str:
    marks = _marks(table, f"{len(table['best'])} layers")
    return f"{marks}; best here: the head that this very split would choose, which flatters it"


def _legend(table: Mapping[str, Any]) -> str:
    rows = [row for row in differences(table) if any(row)]
    n_cells = len(rows) * max(map(len, differences(table)))
    n_measured = len(_measured(table))
    return _marks(table, f"{n_measured} heads") + (f"; {ABSENT} not measured" if n_measured < n_cells else "")


def _marks(table: Mapping[str, Any], family: str) -> str:
    return (
        f"marked {SIGNIFICANT} where p < {table['alpha']:g} ({table['test']} test), {CORRECTED} where it stays so "
        f"after Holm's correction over {family}"
    )


def _counts(table: Mapping[str, Any]) -> str:
    """How many heads help when they go (or stay alone), and how many are significant."""
    found = _measured(table)
    alpha = table["alpha"]
    bh = sum(p < alpha for row in table["p_adjusted"]["bh"] for p in row if p is not None)
    return (
        f"{_GAINS[table['kind']]}: {sum(each.delta > 0 for each in found)} of {len(found)}; significant at "
        f"p < {alpha:g}: {sum(each.significant for each in found)}, after Holm "
        f"{sum(each.corrected for each in found)}, after Benjamini-Hochberg {bh}"
    )


def _measured(table: Mapping[str, Any]) -> list[Difference]:
    return [each for row in differences(table) for each in row if each]


def _correlations(record: Mapping[str, Any]) -> list[str]:
    """One sentence a pair of splits."""
    return [
        f"correlation of {pair['n_heads']} differences on {pair['first']} and {pair['second']}: Pearson r "
        f"{interval(pair, 'pearson')}, Spearman {interval(pair, 'spearman')}"
        for pair in record["correlations"]
    ]


def _flips(record: Mapping[str, Any]) -> list[str]:
    """How many predictions the reduced precision flips; nothing in float32, and for scores."""
    found = record["flips"]
    if found is None:
        return []
    return [
        f"predictions that {found['dtype']} flips: {found['n_flipped']:,} of {found['n_predictions']:,} "
        f"({found['n_examples']:,} examples of {found['split']}, {found['n_masks']} masks)"
    ]
