"""Tables 3 and 6: what the metric loses when one head of a layer is kept alone."""

from collections.abc import Sequence
from typing import Any

from prune_heads.paper import published
from prune_heads.reporting.michel2019.shown import Records, Shown, precision_note, subject_of
from prune_heads.reporting.sheet import Sheet, as_interval, as_text, in_points

_COLUMNS = (
    ("layer", as_text),
    ("published", in_points),
    ("head", as_text),
    ("here", in_points),
    ("95% interval", as_interval),
    ("here - published", in_points),
    ("its 95% interval", as_interval),
)


def table3(records: Records) -> Shown:
    """The best head of each layer, chosen on the very split that it is measured on."""
    (record,) = records["only-one"]
    table = record["tables"][0]
    rows = []
    for best in table["best"]:
        place = best["layer"] - 1
        head = best["best_here"]["head"]
        low, high = table["low"][place][head - 1], table["high"][place][head - 1]
        rows.append((best["layer"], head, best["best_here"]["delta"], low, high))
    return _shown(
        "Table 3", record, published()["table3"]["delta_pp"], rows, f"chosen on {table['split']} itself"
    )


def table6(records: Records) -> Shown:
    """The same with the head chosen on training examples."""
    (record,) = records["only-one"]
    best = record["tables"][0]["best"]
    rows = [(row["layer"], row["head"], row["delta"], row["low"], row["high"]) for row in best]
    chosen = f"chosen on {best[0]['chosen_examples']} examples of {best[0]['chosen_on']}"
    return _shown("Table 6", record, published()["table6"]["delta_pp"], rows, chosen)


def _shown(
    name: str,
    record: Any,
    theirs: Sequence[float],
    ours: Sequence[tuple[int, int, float, float, float]],
    how: str,
) -> Shown:
    """Published and own rows side by side; their difference only where the models have as many layers."""
    is_alike = len(theirs) == len(ours)
    by_layer = {layer: rest for layer, *rest in ours}
    rows = []
    for layer in range(1, max(len(theirs), len(ours)) + 1):
        before = theirs[layer - 1] if layer <= len(theirs) else None
        if layer not in by_layer:
            rows.append((layer, before, None, None, None, None, None))
            continue
        head, *measured = by_layer[layer]
        delta, low, high = (100 * value for value in measured)
        beside = (
            (delta - before, (low - before, high - before))
            if is_alike and before is not None
            else (None, None)
        )
        rows.append((layer, before, head, delta, (low, high), *beside))
    table = record["tables"][0]
    notes = [
        f"Difference in {record['headline'].replace('_', ' ')}, points, on {table['n_examples']} examples of "
        f"{table['split']} (without a mask: {100 * table['base']:.2f}); the head was {how}. Published: "
        "bert-base-uncased, 12 layers of 12 heads.",
        *precision_note(record),
    ]
    if not is_alike:
        notes.append(
            "The models have different numbers of layers, so rows are not the same layer and are not subtracted."
        )
    title = f"{name}: one head kept alone in its layer, {subject_of(record)}"
    return Shown(Sheet(title, _COLUMNS, tuple(rows), tuple(notes)))
