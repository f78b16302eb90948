"""Tables as CSV in long form, at full precision. Layers and heads are numbered from 1, a layer by its row."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prune_heads.reporting.layout import layer_names
from prune_heads.visible import visible

_CELL = ("value", "delta", "low", "high", "p_value")
_CHOICE = ("layer", "head", "chosen_on", "chosen_examples", "chosen_value", "chosen_base")
_BEST = (*_CHOICE, "delta", "low", "high", "p_value", "p_holm", "p_bh")
_LINE = ("criterion", "estimator", "rescored", "scored_on", "n_draws")
_POINT = ("split", "percent", "n_pruned", "value", "low", "high")


def ablation_csv(record: Mapping[str, Any]) -> str:
    """One row a head and split; heads that were not measured have none."""
    rows = []
    for table in record["tables"]:
        columns = [*(table[name] for name in _CELL), table["p_adjusted"]["holm"], table["p_adjusted"]["bh"]]
        for layer, cells in zip(layer_names(table), zip(*columns, strict=True), strict=True):
            for head, values in enumerate(zip(*cells, strict=True), start=1):
                if values[0] is not None:
                    rows.append((table["split"], layer, head, *values))
    return written(("split", "layer", "head", *_CELL, "p_holm", "p_bh"), rows)


def best_csv(record: Mapping[str, Any]) -> str:
    """One row a layer and split: the head chosen on another split, and the one this split would choose."""
    rows = [
        (table["split"], *(row[name] for name in _BEST), row["best_here"]["head"], row["best_here"]["delta"])
        for table in record["tables"]
        for row in table["best"] or ()
    ]
    return written(("split", *_BEST, "best_here_head", "best_here_delta"), rows)


def curves_csv(record: Mapping[str, Any]) -> str:
    """One row a point of `prune-heads curve`; of several draws, `value` is the mean and the interval theirs."""
    rows = [
        (*(line[name] for name in _LINE), *(point[name] for name in _POINT))
        for line in record["lines"]
        for point in line["points"]
    ]
    return written((*_LINE, *_POINT), rows)


def written(heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV; numbers as `repr` writes them, so that they can be read back exactly; None as nothing."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerows([_cell(cell) for cell in row] for row in (heading, *rows))
    return target.getvalue()


def _cell(cell: Any) -> Any:
    """A text in one line; one that a spreadsheet would compute, `=1+1`, is quoted as a text."""
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    if not text.startswith(("=", "+", "-", "@")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
