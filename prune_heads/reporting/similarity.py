"""Heads together: what closing two or many does, and how alike they are. Layers and heads count from 1."""

from itertools import combinations

from prune_heads.reporting.words import Record, estimate, metric_title, subject_of
from prune_heads.tables import Cell, Form, Page, Table
from prune_heads.visible import csv_of

N_SHOWN = 20  # rows of a table of pairs; the CSV file has all

_FORMS: dict[str, Form | str] = dict.fromkeys(("first", "second", "both"), "+.4f")
_FORMS |= {"interaction": "+.4f*", "95% interval": "+.4f to", "p (Holm)": ".2g"}


def pairs_page(record: Record, *, narrow: bool = False) -> Page:
    """Of `prune-heads ablate --kind pairs`: a table a split of the pairs that interact most.

    A narrow one fits into the 80 columns of a terminal.
    """
    tables = list[Table]()
    for table in record["pairs"]:
        rows, alpha = table["rows"], table["alpha"]
        found = [row["interaction"] for row in rows if row["p_holm"] < alpha]
        shown = [
            {"heads": f"{row['first']} {row['second']}", "first": row["first_loss"], "second": row["second_loss"]}
            | {"both": row["loss"]}
            | {"interaction": Cell(row["interaction"], *(("#", "bold") if row["p_holm"] < alpha else ()))}
            | {"95% interval": (row["low"], row["high"]), "p (Holm)": row["p_holm"]}
            for row in sorted(rows, key=lambda row: -abs(row["interaction"]))[:N_SHOWN]
        ]
        notes = (
            "Interaction: the loss without both, less the losses without each; positive where they stand in for each "
            "other, negative where one needs the other.",
            f"The {len(shown)} largest of {len(rows)} pairs; # where p < {alpha:g} after Holm's correction "
            f"({table['test']}): {len(found)} pairs, {sum(each > 0 for each in found)} of them positive; after "
            f"Benjamini-Hochberg {sum(row['p_bh'] < alpha for row in rows)}.",
        )
        title = f"{table['split']}, {table['n_examples']:,} examples, {table['likelihood']:.4f} nats with all heads"
        tables.append(Table.of(title, shown, _FORMS, notes, gap=1 if narrow else 2))
    what = "loss of log-likelihood without two heads, in nats an example"
    return Page(f"{subject_of(record)}: {what}", tuple(tables))


def pairs_csv(record: Record) -> str:
    """A row a pair and split, numbers in full."""
    return csv_of({"split": table["split"], **row} for table in record["pairs"] for row in table["rows"])


NAMES = {"js": "JS", "cka": "CKA", "cosine": "cosine"}


def similarity_page(record: Record, *, narrow: bool = False) -> Page:
    """Of `prune-heads similar`: each head's nearest, its cluster and what its layer says of it; and the agreement.

    A narrow one fits into the 80 columns of a terminal.
    """
    parts = list[Table | str]()
    for group in record["groups"]:
        partners = (each or [{}] for each in group["partners"])  # one head has none
        rows = [
            {"head": head, "cluster": cluster, "R^2": reconstructed, "nearest": best.get("head")}
            | {title: best.get(name) for name, title in NAMES.items()}
            | {"next nearest": ", ".join(other["head"] for other in others)}
            for head, (best, *others), cluster, reconstructed in zip(
                group["heads"], partners, group["clusters"], group["reconstructed"], strict=True
            )
        ]
        notes = (
            f"Nearest heads and clusters (Ward): by {'attention maps' if group['by'] == 'js' else 'outputs'}, on "
            f"{group['n_tokens']:,} tokens. Heads are alike where JS is small (the Jensen-Shannon divergence of their "
            "attention maps, in nats, from 0), and where CKA and cosine are large (of their outputs, up to 1).",
            f"R^2: of the head's output by a ridge regression on the other heads of its layer (penalty "
            f"{record['ridge']:g} of their mean variance), on the half of the examples that is held out; large where "
            "they can say what it says.",
        )
        forms = {"R^2": ".2f", **dict.fromkeys(NAMES.values(), ".3f")}
        title = f"{group['letter']} {record['data'][0]['split']}, {record['n_examples']:,} examples".strip()
        parts.append(Table.of(title, rows, forms, notes, gap=1 if narrow else 2))
    if record["agreement"]:
        found = "; ".join(f"{NAMES[each['measure']]} {estimate(each, form='+.2f')}" for each in record["agreement"])
        parts.append(
            f"Do like heads stand in for each other? Spearman's correlation of similarity with the interaction of "
            f"{record['agreement'][0]['n_pairs']} pairs: {found}. Intervals of 95% leave out one head at a time."
        )
    return Page(f"{subject_of(record)}: which heads do the same work?", tuple(parts))


def similarity_csv(record: Record) -> str:
    """A row a pair of heads that were compared."""
    return csv_of(
        {"first": first, "second": second, **{name: group[name][i] for name in NAMES}}
        for group in record["groups"]
        for i, (first, second) in enumerate(combinations(group["heads"], 2))
    )


def additivity_page(record: Record, *, narrow: bool = False) -> Page:
    """Of `prune-heads ablate --kind random`: a table a split and response, a row a number of heads."""
    return Page(f"{subject_of(record)}: do single heads add up?", tuple(map(_additivity_table, record["random"])))


def _additivity_table(table: Record) -> Table:
    rows = (
        {"closed": f"{row['n_closed']} of {row['n_heads']}", "loss": row["loss"], "summed": row["summed"]}
        | {name: estimate(each) for name, each in row["spearman"].items()}
        for row in table["rows"]
    )
    notes = (
        f"loss: mean of {table['rows'][0]['n_masks']} masks on {table['n_examples']:,} examples; summed: what their "
        f"heads lose alone on {table['n_singles']:,} others. A loss above the sum: heads stand in for each other.",
        "Then Spearman's correlation over masks, with its 95% interval: of the loss with the sum of single effects, "
        "and with the sum of each criterion's scores.",
    )
    nats = "mean log-likelihood of the right answer, in nats an example"
    what = nats if table["response"] == "likelihood" else metric_title(table["response"])
    title = f"{what}, {table['split']}: {table['base']:.4f} with all heads"
    return Table.of(title, rows, {"loss": ".4f", "summed": ".4f"}, notes, gap=1)
