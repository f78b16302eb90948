"""Tables 2, 3, 5 and 6: what the metric loses when one head of a layer is kept alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prune_heads.paper import published
from prune_heads.reporting.layout import layer_names, metric_name
from prune_heads.reporting.michel2019.shown import (
    SURE,
    Record,
    Records,
    Shown,
    precision_note,
    subject_of,
)
from prune_heads.reporting.sheet import Sheet, as_interval, as_marked, as_text, in_points

_KINDS = {"E": "enc_enc", "A": "enc_dec", "D": "dec_dec"}
"""Our letter of a kind of blocks -> its key among the published numbers."""
_BERT = "bert-base-uncased, 12 layers of 12 heads"
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
    delta: Mapping[str, Sequence[float]]
    """Points by kind of blocks, one a layer."""
    significant: Mapping[str, Sequence[int]] | None = None
    """Layers, of a table in which this is marked."""


def table2(records: Records) -> Shown:
    """Of a translation, each layer's head chosen on the very split that it is measured on."""
    (record,) = records["only-one"]
    table, there = record["tables"][0], published()["table2"]
    marks = {letter: there["significant"][key] for letter, key in _KINDS.items()}
    theirs = _Published("Table 2", _TRANSFORMER, _by_kind(there), marks)
    return _shown(record, table, theirs, _chosen(table), f"chosen on {table['split']} itself")


def table3(records: Records) -> Shown:
    """The best head of each layer, chosen on the very split that it is measured on."""
    (record,) = records["only-one"]
    table = record["tables"][0]
    theirs = _of_bert("table3", "Table 3")
    return _shown(record, table, theirs, _best_here(table), f"chosen on {table['split']} itself")


def table5(records: Records) -> Shown:
    """As table 2, chosen on one split and measured on another."""
    (record,) = records["only-one"]
    table = record["tables"][-1]
    theirs = _Published("Table 5", _TRANSFORMER, _by_kind(published()["table5"]))
    return _shown(record, table, theirs, _chosen(table), _where_chosen(table))


def table6(records: Records) -> Shown:
    """As table 3, with the head chosen on training examples."""
    (record,) = records["only-one"]
    table = record["tables"][0]
    theirs = _of_bert("table6", "Table 6")
    return _shown(record, table, theirs, _chosen(table), _where_chosen(table))


def _of_bert(key: str, name: str) -> _Published:
    there = published()[key]
    return _Published(name, _BERT, {"": there["delta_pp"]}, {"": there["significant"]})


def _by_kind(there: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    return {letter: there[key] for letter, key in _KINDS.items()}


def _chosen(table: Mapping[str, Any]) -> list[_Kept]:
    """The heads that were chosen when the record was made."""
    return [_Kept(*(row[name] for name in _Kept._fields)) for row in table["best"]]


def _best_here(table: Mapping[str, Any]) -> list[_Kept]:
    """The heads that the split of the table would choose."""
    names = layer_names(table)
    found = []
    for best in table["best"]:
        layer, head = names.index(str(best["layer"])), best["best_here"]["head"]
        low, high, p_value = (table[key][layer][head - 1] for key in ("low", "high", "p_value"))
        found.append(_Kept(best["layer"], head, best["best_here"]["delta"], low, high, p_value))
    return found


def _where_chosen(table: Mapping[str, Any]) -> str:
    first = table["best"][0]
    return f"chosen on {first['chosen_examples']} examples of {first['chosen_on']}"


def _shown(
    record: Record, table: Mapping[str, Any], theirs: _Published, ours: Sequence[_Kept], how: str
) -> Shown:
    """Published and own rows side by side, kind by kind; published ones are marked where the paper says which are."""
    kinds = list(dict.fromkeys([*theirs.delta, *(kept.kind for kept in ours)]))
    rows = [row for kind in kinds for row in _rows(kind, theirs, ours, table["alpha"])]
    columns = (
        ("blocks", as_text),
        ("layer", as_text),
        ("published", in_points if theirs.significant is None else as_marked),
        ("head", as_text),
        ("here", as_marked),
        ("95% interval", as_interval),
        ("here - published", in_points),
        ("its 95% interval", as_interval),
    )
    notes = [
        f"Difference in {metric_name(record)}, points, on {table['n_examples']} examples of "
        f"{table['split']} (without a mask: {100 * table['base']:.2f}); the head was {how}. Published: {theirs.model}.",
        *precision_note(record),
    ]
    if kinds != [""]:
        notes.append(
            "Blocks: E, the encoder's self-attention; A, the decoder's attention to the encoder; D, the decoder's "
            "self-attention."
        )
    unknown = "; of the published ones it is not known" if theirs.significant is None else ""
    notes.append(f"{SURE}: p < {table['alpha']:g} ({table['test']}){unknown}.")
    if any(None in (there, head) for _, _, there, head, *_ in rows):
        notes.append(
            "The models have different numbers of layers, so rows are not the same layer and are not subtracted."
        )
    start = 1 if kinds == [""] else 0
    title = f"{theirs.name}: one head kept alone in its layer, {subject_of(record)}"
    return Shown(Sheet(title, columns[start:], tuple(row[start:] for row in rows), tuple(notes)))


def _rows(kind: str, theirs: _Published, ours: Sequence[_Kept], alpha: float) -> Iterator[tuple[Any, ...]]:
    """One a layer of a kind; the difference between them only where the models have as many layers."""
    published_here = theirs.delta.get(kind, ())
    by_layer = {kept.number: kept for kept in ours if kept.kind == kind}
    sure = None if theirs.significant is None else theirs.significant.get(kind, ())

    for layer in range(1, max(len(published_here), max(by_layer, default=0)) + 1):
        before = published_here[layer - 1] if layer <= len(published_here) else None
        there = before if sure is None or before is None else _marked(before, layer in sure)
        kept = by_layer.get(layer)
        if kept is None:
            yield kind, layer, there, None, None, None, None, None
            continue
        delta, low, high = (100 * share for share in (kept.delta, kept.low, kept.high))
        beside: tuple[Any, Any] = (None, None)
        if before is not None and len(published_here) == len(by_layer):
            beside = delta - before, (low - before, high - before)
        yield kind, layer, there, kept.head, _marked(delta, kept.p_value < alpha), (low, high), *beside


def _marked(points: float, is_sure: bool) -> tuple[float, str]:
    return points, SURE if is_sure else ""
