"""Tables 2, 3, 5 and 6: what the metric loses when one head of a layer is kept alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prune_heads.paper import published
from prune_heads.reporting.michel2019.shown import (
    SURE,
    Record,
    Records,
    Shown,
    is_translation,
    marked,
    subject_of,
    table_of,
)
from prune_heads.reporting.words import layer_names, metric_name
from prune_heads.tables import INTERVAL, MARKED, POINTS, Column, Table

_KINDS = {"E": "enc_enc", "A": "enc_dec", "D": "dec_dec"}
"""Our letter of a kind of blocks -> its key among the published numbers."""
_BERT = "bert-base-uncased on MNLI, 12 layers of 12 heads"
_TRANSFORMER = "a large Transformer on WMT14 En-Fr, 6 + 6 layers of 16 heads"


class _Kept(NamedTuple):
    """A layer's best head, and the difference that it makes alone, a share of the metric."""

    layer: int | str
    """A number, or `E:3` in an encoder-decoder."""
    head: int
    delta: float
    low: float
    high: float
    p_value: float

    @property
    def kind(self) -> str:
        """E, A or D; empty in a model of one kind of blocks."""
        return str(self.layer).rpartition(":")[0]

    @property
    def number(self) -> int:
        """Of the layer, among its kind, from 1."""
        return int(str(self.layer).rpartition(":")[2])


class _Published(NamedTuple):
    """A table of the paper."""

    name: str
    model: str
    task: str
    """Ours of the same data; numbers of another one are not subtracted."""
    delta: Mapping[str, Sequence[float]]
    """Points by kind of blocks, one a layer."""
    significant: Mapping[str, Sequence[int]] | None = None
    """Layers, of a table in which this is marked."""

    def is_of(self, record: Record) -> bool:
        """Whether the same was measured."""
        return bool(record["task"] == self.task)


class _Ours(NamedTuple):
    """What a subject's record says: the heads, and how they were chosen."""

    record: Record
    table: Mapping[str, Any]
    best: Sequence[_Kept]
    how: str


def kept_alone(name: str, records: Records) -> Shown:
    """`table2` of a translation and `table3` of a classifier: heads chosen on the very split they are measured on.

    `table5` and `table6` are the same with heads that were chosen on other examples.
    """
    chosen = _chosen_here if name in ("table2", "table3") else _chosen_elsewhere
    return _shown(_published(name), [chosen(record) for record in records["only-one"]])


def _published(key: str) -> _Published:
    there, name = published()[key], f"Table {key[-1]}"
    if "delta_pp" in there:
        return _Published(name, _BERT, "mnli", {"": there["delta_pp"]}, {"": there["significant"]})
    marks = there.get("significant")
    delta = {letter: there[kind] for letter, kind in _KINDS.items()}
    sure = None if marks is None else {letter: marks[kind] for letter, kind in _KINDS.items()}
    return _Published(name, _TRANSFORMER, "wmt14-en-fr", delta, sure)


def _chosen_here(record: Record) -> _Ours:
    """The heads that the very split of the table would choose."""
    table = record["tables"][0]
    names = layer_names(table)
    found = []
    for best in table["best"]:
        layer, head = names.index(str(best["layer"])), best["best_here"]["head"]
        low, high, p_value = (table[key][layer][head - 1] for key in ("low", "high", "p_value"))
        found.append(_Kept(best["layer"], head, best["best_here"]["delta"], low, high, p_value))
    return _Ours(record, table, found, f"chosen on {table['split']} itself")


def _chosen_elsewhere(record: Record) -> _Ours:
    """The heads that were chosen when the record was made; a translation is then measured on its last split."""
    table = record["tables"][-1 if is_translation(record) else 0]
    best, first = table["best"], table["best"][0]
    how = f"chosen on {first['chosen_examples']} examples of {first['chosen_on']}"
    return _Ours(record, table, [_Kept(*(row[name] for name in _Kept._fields)) for row in best], how)


def _shown(theirs: _Published, every: Sequence[_Ours]) -> Shown:
    """Published and own rows side by side, kind by kind; of several subjects, beside those of the same task."""
    rows: list[tuple[Any, ...]] = []
    for ours in every:
        there = theirs.delta if len(every) == 1 or theirs.is_of(ours.record) else {}
        for kind in dict.fromkeys([*there, *(kept.kind for kept in ours.best)]):
            rows += [(subject_of(ours.record), *row) for row in _rows(kind, there.get(kind, ()), theirs, ours)]
    columns = (
        Column("blocks"),
        Column("layer"),
        Column("published", POINTS if theirs.significant is None else MARKED),
        Column("head"),
        Column("here", MARKED),
        Column("95% interval", INTERVAL),
        Column("here - published", POINTS),
        Column("its 95% interval", INTERVAL),
    )
    start = 0 if any(kind for _, kind, *_ in rows) else 1
    return Shown(
        table_of(
            f"{theirs.name}: one head kept alone in its layer",
            [ours.record for ours in every],
            columns[start:],
            [(subject, *row[start:]) for subject, *row in rows],
            list(_notes(theirs, every, rows)),
        ),
        summary=_summary(every) if len(every) > 1 else None,
    )


def _summary(every: Sequence[_Ours]) -> Table:
    """In how many layers one head does not do the work of all, and what that costs."""
    rows = []
    for ours in every:
        lost = [kept.layer for kept in ours.best if kept.delta < 0 and kept.p_value < ours.table["alpha"]]
        worst = min(kept.delta for kept in ours.best)
        subject, metric = subject_of(ours.record), metric_name(ours.record)
        rows.append((subject, metric, ours.table["n_examples"], len(ours.best), len(lost), 100 * worst))
    names = ("subject", "metric", "examples", "layers", "of them worse with one head (p < 0.01)")
    return Table("", (*map(Column, names), Column("largest difference, points", POINTS)), tuple(rows))


def _notes(theirs: _Published, every: Sequence[_Ours], rows: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    for ours in every:
        whose = f"{subject_of(ours.record)}: d" if len(every) > 1 else "D"
        yield (
            f"{whose}ifference in {metric_name(ours.record)}, points, on {ours.table['n_examples']} examples of "
            f"{ours.table['split']} (without a mask: {100 * ours.table['base']:.2f}); the head was {ours.how}."
        )
    yield f"Published: {theirs.model}."
    if any(kind for _, kind, *_ in rows):
        yield (
            "Blocks: E, the encoder's self-attention; A, the decoder's attention to the encoder; D, the decoder's "
            "self-attention."
        )
    tests = " or ".join(dict.fromkeys(ours.table["test"] for ours in every))
    unknown = "; of the published ones it is not known" if theirs.significant is None else ""
    yield f"{SURE}: p < {every[0].table['alpha']:g} ({tests}){unknown}."
    if not any(theirs.is_of(ours.record) for ours in every):
        yield "The published numbers are of another task, so they are not subtracted."
    elif any(there is not None and difference is None for *_, there, _, _, _, difference, _ in rows):
        yield "The models have different numbers of layers, so rows are not the same layer and are not subtracted."


def _rows(kind: str, published_here: Sequence[float], theirs: _Published, ours: _Ours) -> Iterator[tuple[Any, ...]]:
    """One a layer of a kind; the difference between them only where the models have as many layers."""
    by_layer = {kept.number: kept for kept in ours.best if kept.kind == kind}
    sure = None if theirs.significant is None else theirs.significant.get(kind, ())
    comparable = theirs.is_of(ours.record) and len(published_here) == len(by_layer)

    for layer in range(1, max(len(published_here), max(by_layer, default=0)) + 1):
        before = published_here[layer - 1] if layer <= len(published_here) else None
        there = before if sure is None or before is None else marked(before, layer in sure)
        kept = by_layer.get(layer)
        if kept is None:
            yield kind, layer, there, None, None, None, None, None
            continue
        delta, low, high = (100 * share for share in (kept.delta, kept.low, kept.high))
        beside: tuple[Any, Any] = (None, None)
        if before is not None and comparable:
            beside = delta - before, (low - before, high - before)
        here = marked(delta, kept.p_value < ours.table["alpha"])
        yield kind, layer, there, kept.head, here, (low, high), *beside
