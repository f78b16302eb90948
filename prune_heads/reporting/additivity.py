"""Random masks: do the effects of single heads add up?"""

from prune_heads.reporting.words import Record, metric_title, subject_of
from prune_heads.tables import Page, Table

_NATS = "mean log-likelihood of the right answer, in nats an example"


def additivity_page(record: Record, *, narrow: bool = False) -> Page:
    """Of `prune-heads ablate --kind random`: a table a split and response, a row a number of heads."""
    return Page(f"{subject_of(record)}: do single heads add up?", tuple(map(_table, record["random"])))


def _table(table: Record) -> Table:
    rows = (
        {"closed": f"{row['n_closed']} of {row['n_heads']}", "loss": row["loss"], "summed": row["summed"]}
        | {name: _interval(each) for name, each in row["spearman"].items()}
        for row in table["rows"]
    )
    notes = (
        f"loss: mean of {table['rows'][0]['n_masks']} masks on {table['n_examples']:,} examples; summed: what their "
        f"heads lose alone on {table['n_singles']:,} others. A loss above the sum: heads stand in for each other.",
        "Then Spearman's correlation over masks, with its 95% interval: of the loss with the sum of single effects, "
        "and with the sum of each criterion's scores.",
    )
    what = _NATS if table["response"] == "likelihood" else metric_title(table["response"])
    title = f"{what}, {table['split']}: {table['base']:.4f} with all heads"
    return Table.of(title, rows, {"loss": ".4f", "summed": ".4f"}, notes, gap=1)


def _interval(found: Record) -> str:
    if found["value"] is None:
        return "undefined"
    return f"{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
