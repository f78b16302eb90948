"""Table 1, figures 1 and 2: what each head matters, and whether it matters as much on another data set."""

from collections.abc import Mapping
from typing import Any

from prune_heads.paper import published
from prune_heads.reporting.figures import ablation_histogram, ablation_scatter
from prune_heads.reporting.michel2019.shown import (
    SURE,
    Record,
    Records,
    Shown,
    is_translation,
    marked,
    panels,
    precision_note,
    subject_of,
    table_of,
)
from prune_heads.reporting.words import layer_names, metric_name
from prune_heads.statistics import correlate
from prune_heads.tables import INTERVAL, MARKED, Cell, Column, Table, number

_TWO = number(2)
_ENCODER = "E"
_OF_ENCODER = " of the encoder's self-attention"
_BY_HEAD = ("value", "delta", "low", "high", "p_value")


def table1(records: Records) -> Shown:
    """The difference that masking each head of the encoder's self-attention makes; published rows below ours."""
    (record,) = records["without-one"]
    table = _encoder(record)["tables"][0]
    theirs = published()["table1"]
    significant = {(layer, head) for layer, head in theirs["significant"]}
    here: list[list[Cell | None]] = [
        [None if delta is None else marked(100 * delta, p < table["alpha"]) for delta, p in zip(*row, strict=True)]
        for row in zip(table["delta"], table["p_value"], strict=True)
    ]
    there: list[list[Cell | None]] = [
        [marked(delta, (layer, head) in significant) for head, delta in enumerate(row, start=1)]
        for layer, row in enumerate(theirs["delta"], start=1)
    ]
    width = max(len(row) for row in [*here, *there])
    rows = [
        (source, layer, *row, *[None] * (width - len(row)))
        for source, grid in zip(("here", "published"), (here, there), strict=True)
        for layer, row in enumerate(grid, start=1)
    ]
    ours = [cell for row in here for cell in row if cell is not None]
    columns = (Column("source"), Column("layer"), *(Column(str(head + 1), MARKED) for head in range(width)))
    notes = (
        f"Difference in BLEU, points, when one head{_OF_ENCODER} is masked; layers down, heads "
        f"across; on {table['n_examples']} examples of {table['split']} (without a mask: {100 * table['base']:.2f}). "
        f"Published: a large Transformer on newstest2013 of WMT14 En-Fr.",
        f"{SURE}: p < {table['alpha']:g} ({table['test']}), without a correction for many heads as in the paper: "
        f"{sum(cell.mark == SURE for cell in ours)} of {len(ours)} here, {len(significant)} of "
        f"{sum(map(len, theirs['delta']))} published.",
        *precision_note(record),
    )
    title = f"Table 1: each head of the encoder masked alone, {subject_of(record)}"
    return Shown(Table(title, columns, tuple(rows), notes))


def figure1(records: Records) -> Shown:
    """How many heads leave which metric when each is masked alone; of a translation, those of table 1."""
    every = records["without-one"]
    rows = []
    for record in every:
        for table in _shown_heads(record)["tables"]:
            pairs = [
                (delta, p)
                for row in zip(table["delta"], table["p_value"], strict=True)
                for delta, p in zip(*row, strict=True)
                if delta is not None
            ]
            sure = [delta for delta, p in pairs if p < table["alpha"]]
            gains, losses = sum(delta > 0 for delta in sure), sum(delta < 0 for delta in sure)
            place = (subject_of(record), _short(table["split"]), metric_name(record), 100 * table["base"])
            rows.append((*place, len(pairs), losses, gains, 100 * min(delta for delta, _ in pairs)))
    columns = (
        Column("split"),
        Column("metric"),
        Column("whole", _TWO),
        Column("heads"),
        Column("worse without (p < 0.01)"),
        Column("better without (p < 0.01)"),
        Column("largest loss, points", _TWO),
    )
    significant, n = len(published()["table1"]["significant"]), sum(map(len, published()["table1"]["delta"]))
    notes = [
        f"No correction for many heads, as in the paper. It reports {significant} of {n} encoder heads of its "
        "translation model as significant (table 1), and gives no numbers for the histogram of BERT."
    ]
    if any(map(is_translation, every)):
        notes.append(f"Of a translation: heads{_OF_ENCODER}.")
    figures = {
        end: ablation_histogram(_shown_heads(record), _OF_ENCODER if is_translation(record) else "")
        for end, record in panels(every)
    }
    return Shown(table_of("Figure 1: each head masked alone", every, columns, rows, notes), figures)


def figure2(records: Records) -> Shown:
    """The differences on two splits against each other."""
    every = records["without-one"]
    theirs = published()["figure2"]
    rows: list[tuple[Any, ...]] = []
    for record in every:
        before = theirs["newstest2013_vs_mtnt" if is_translation(record) else "mnli_matched_vs_mismatched"]
        for pair in record["correlations"]:
            for heads, found in _correlations(record, pair):
                place = (subject_of(record), _short(pair["first"]), _short(pair["second"]), heads)
                if found["value"] is None:
                    rows.append((*place, before, None, None, None, None))
                    continue
                interval = found["low"], found["high"]
                between = tuple(end - before for end in interval)
                rows.append((*place, before, found["value"], interval, found["value"] - before, between))
    columns = (
        Column("first"),
        Column("second"),
        Column("heads"),
        Column("published r", _TWO),
        Column("here", _TWO),
        Column("95% interval", INTERVAL),
        Column("here - published", _TWO),
        Column("its 95% interval", INTERVAL),
    )
    notes = [
        "Pearson's r of the differences that masking each head makes; the interval is that of our heads alone. "
        "Published: "
        + " and ".join(
            dict.fromkeys(
                "a large Transformer, newstest2013 of WMT14 En-Fr against MTNT"
                if is_translation(record)
                else "bert-base-uncased on MNLI, matched and mismatched"
                for record in every
            )
        )
        + "."
    ]
    if any(map(is_translation, every)):
        notes.append(f"E: heads{_OF_ENCODER} alone. The published r stands beside both.")
    figures = {end: ablation_scatter(record) for end, record in panels(every)}
    title = "Figure 2: do heads matter alike on two data sets"
    return Shown(table_of(title, every, columns, rows, notes), figures)


def _correlations(record: Record, pair: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Pearson's r over all heads; of an encoder-decoder also over those of the encoder."""
    found: list[tuple[str, Mapping[str, Any]]] = [("all", pair["pearson"])]
    if is_translation(record):
        deltas = {table["split"]: table["delta"] for table in _encoder(record)["tables"]}
        first, second = ([value for row in deltas[pair[side]] for value in row] for side in ("first", "second"))
        found.append((_ENCODER, correlate(first, second)["pearson"]))
    return found


def _shown_heads(record: Record) -> Record:
    """What figure 1 is of."""
    return _encoder(record) if is_translation(record) else record


def _encoder(record: Record) -> Record:
    """The record as if the heads of the encoder's self-attention had been masked alone."""
    tables = []
    for table in record["tables"]:
        places = [i for i, name in enumerate(layer_names(table)) if name.startswith(f"{_ENCODER}:")]
        parts = {key: [table[key][i] for i in places] for key in ("blocks", *_BY_HEAD)}
        tables.append({**table, **parts})
    return {**record, "tables": tables}


def _short(split: str) -> str:
    """`matched` of `validation_matched`."""
    return split.removeprefix("validation_")
