"""Table 4: how much faster a model is without half of its heads."""

from prune_heads.paper import published
from prune_heads.reporting.michel2019.shown import Records, Shown, precision_note, subject_of
from prune_heads.reporting.words import share
from prune_heads.tables import POINTS, Column, Table, number

_SPEED = number(1)
_COLUMNS = (
    Column("batch"),
    Column("published: whole", _SPEED),
    Column("half", _SPEED),
    Column("gain, %", POINTS),
    Column("here: whole", _SPEED),
    Column("± whole", _SPEED),
    Column("pruned", _SPEED),
    Column("± pruned", _SPEED),
    Column("gain, % (median of runs)", POINTS),
    Column("ceiling of the gain, %", POINTS),
)


def table4(records: Records) -> Shown:
    """Examples a second, padded to one length as in the paper."""
    (record,) = records["bench"]
    theirs = published()["table4"]
    by_size = {size: i for i, size in enumerate(theirs["batch_size"])}
    rows = []
    for row in record["rows"]:
        if row["lengths"] != "fixed":
            continue
        i = by_size.get(row["batch_size"])
        there = (None,) * 3 if i is None else tuple(theirs[key][i] for key in ("original", "pruned_50", "gain_percent"))
        whole, pruned = (row["examples_per_second"][side] for side in ("original", "removed"))
        ratios = (row["ratio"]["removed"]["median"], row["ceiling"])
        gains = (None if ratio is None else 100 * (ratio - 1) for ratio in ratios)
        speeds = (whole["mean"], whole["deviation"], pruned["mean"], pruned["deviation"])
        rows.append((row["batch_size"], *there, *speeds, *gains))
    where = record["provenance"]
    machine = f"{where['threads']} threads of a CPU" if where["device"] == "cpu" else where["device"]
    notes = (
        f"Examples a second at {record['length']} tokens, mean and deviation of "
        f"{record['configuration']['runs']} runs. Published: bert-base-uncased on a GTX 1080 Ti; here: "
        f"{share(record)}, on {machine}. The ceiling is what fewer multiply-adds can give"
        + (
            "; it is not known for this type of model."
            if any(row["ceiling"] is None for row in record["rows"])
            else "."
        ),
        *precision_note(record),
    )
    return Shown(Table(f"Table 4: speed without half of the heads, {subject_of(record)}", _COLUMNS, tuple(rows), notes))
