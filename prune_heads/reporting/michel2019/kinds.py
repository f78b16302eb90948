"""Figure 4: how far each kind of attention can be pruned alone."""

from prune_heads.reporting.curves import splits, values_of
from prune_heads.reporting.figures import kinds_figure
from prune_heads.reporting.michel2019.shown import ROUNDED, Records, Shown, precision_note, subject_of
from prune_heads.reporting.words import metric_name
from prune_heads.tables import Column, Table, number

_KINDS = {"E": "encoder self-attention", "A": "encoder-decoder attention", "D": "decoder self-attention"}

_FOUR = number(4)


def figure4(records: Records) -> Shown:
    """The metric as heads of the encoder, of the decoder, or between them go, lowest I_h first."""
    by_kind = {letter: records[f"curve-{letter}"][0] for letter in _KINDS}
    first = by_kind["E"]
    split = splits(first)[0]
    values = {letter: values_of(record["lines"][0], split) for letter, record in by_kind.items()}
    rows = tuple(
        (f"{percent:g}%", *(curve.get(percent) for curve in values.values()))
        for percent in sorted({percent for curve in values.values() for percent in curve})
    )
    columns = (
        Column("heads of the kind pruned"),
        *(Column(f"{letter}: {name.removesuffix(' attention')}", _FOUR) for letter, name in _KINDS.items()),
    )
    metric, scored = metric_name(first), first["scored_on"]["gradient"]["n_examples"]
    notes = (
        f"Measured: {metric} on {first['data'][0]['n_examples']} examples of {split}; importance is estimated on "
        f"{scored} of {first['lines'][0]['scored_on']}. {ROUNDED}",
        "The paper says that encoder-decoder attention depends much more on having many heads: performance falls much "
        "faster when heads of A are pruned (section 5). It gives no numbers for this figure.",
        *precision_note(first),
    )
    table = Table(
        f"Figure 4: heads of each kind of attention pruned alone, {subject_of(first)}", columns, rows, notes
    )
    return Shown(table, {"": kinds_figure({name: by_kind[letter] for letter, name in _KINDS.items()})})
