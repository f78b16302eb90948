"""Pairs of heads: what closing both does, and how alike heads are. Layers and heads count from 1."""

from prune_heads.reporting.words import Record, subject_of
from prune_heads.tables import Cell, Form, Page, Table
from prune_heads.visible import csv_of

N_SHOWN = 20  # rows of a table of pairs; the CSV file has all

_NATS = "+.4f"
_FORMS: dict[str, Form | str] = {
    **dict.fromkeys(("first", "second", "both"), _NATS),
    "interaction": "+.4f*",
    "95% interval": "+.4f to",
    "p (Holm)": ".2g",
}


def pairs_page(record: Record, *, narrow: bool = False) -> Page:
    """Of `prune-heads ablate --kind pairs`: a table a split of the pairs that interact most.

    A narrow one fits into the 80 columns of a terminal.
    """
    what = "loss of log-likelihood without two heads, in nats an example"
    return Page(f"{subject_of(record)}: {what}", tuple(_pairs_table(table, narrow) for table in record["pairs"]))


def _pairs_table(table: Record, narrow: bool) -> Table:
    rows, alpha, shown = table["rows"], table["alpha"], list[Record]()
    found = [row for row in rows if row["p_holm"] < alpha]
    for row in sorted(rows, key=lambda row: -abs(row["interaction"]))[:N_SHOWN]:
        kept = row["p_holm"] < alpha
        shown.append(
            {"heads": f"{row['first']} {row['second']}", "first": row["first_loss"], "second": row["second_loss"]}
            | {"both": row["loss"]}
            | {"interaction": Cell(row["interaction"], "#" if kept else "", "bold" if kept else "")}
            | {"95% interval": (row["low"], row["high"]), "p (Holm)": row["p_holm"]}
        )
    n, positive = len(found), sum(row["interaction"] > 0 for row in found)
    notes = (
        "Interaction: the loss without both, less the losses without each; positive where they stand in for each "
        "other, negative where one needs the other.",
        f"The {len(shown)} largest of {len(rows)} pairs; # where p < {alpha:g} after Holm's correction "
        f"({table['test']}): {n} pairs, {positive} of them positive; after Benjamini-Hochberg "
        f"{sum(row['p_bh'] < alpha for row in rows)}.",
    )
    title = f"{table['split']}, {table['n_examples']:,} examples, {table['likelihood']:.4f} nats with all heads"
    return Table.of(title, shown, _FORMS, notes, gap=1 if narrow else 2)


def pairs_csv(record: Record) -> str:
    """A row a pair and split, numbers in full."""
    return csv_of({"split": table["split"], **row} for table in record["pairs"] for row in table["rows"])
