"""Figures 1 and 2: what each head matters, and whether it matters as much on another data set."""

from prune_heads.paper import published
from prune_heads.reporting.figures import ablation_histogram, ablation_scatter
from prune_heads.reporting.michel2019.shown import Records, Shown, precision_note, subject_of
from prune_heads.reporting.sheet import Sheet, as_interval, as_text, with_digits

_TWO = with_digits(2)


def figure1(records: Records) -> Shown:
    """How many heads leave which metric when each is masked alone."""
    (record,) = records["without-one"]
    rows = []
    for table in record["tables"]:
        pairs = [
            (delta, p)
            for row in zip(table["delta"], table["p_value"], strict=True)
            for delta, p in zip(*row, strict=True)
            if delta is not None
        ]
        sure = [delta for delta, p in pairs if p < table["alpha"]]
        gains, losses = sum(delta > 0 for delta in sure), sum(delta < 0 for delta in sure)
        rows.append(
            (
                table["split"].removeprefix("validation_"),
                100 * table["base"],
                len(pairs),
                losses,
                gains,
                100 * min(d for d, _ in pairs),
            )
        )
    columns = (
        ("split", as_text),
        (f"{record['headline'].replace('_', ' ')}, whole", _TWO),
        ("heads", as_text),
        ("worse without (p < 0.01)", as_text),
        ("better without (p < 0.01)", as_text),
        ("largest loss, points", _TWO),
    )
    significant, n = len(published()["table1"]["significant"]), sum(map(len, published()["table1"]["delta"]))
    notes = (
        f"No correction for many heads, as in the paper. It reports {significant} of {n} encoder heads of its "
        "translation model as significant (table 1), and gives no numbers for the histogram of BERT.",
        *precision_note(record),
    )
    sheet = Sheet(f"Figure 1: each head masked alone, {subject_of(record)}", columns, tuple(rows), notes)
    return Shown(sheet, {"": ablation_histogram(record)})


def figure2(records: Records) -> Shown:
    """The differences on two splits against each other."""
    (record,) = records["without-one"]
    theirs = published()["figure2"]["mnli_matched_vs_mismatched"]
    rows = []
    for pair in record["correlations"]:
        found = pair["pearson"]
        between = (found["low"] - theirs, found["high"] - theirs)
        interval = (found["low"], found["high"])
        rows.append(
            (
                pair["first"].removeprefix("validation_"),
                pair["second"].removeprefix("validation_"),
                theirs,
                found["value"],
                interval,
                found["value"] - theirs,
                between,
            )
        )
    columns = (
        ("first", as_text),
        ("second", as_text),
        ("published r", _TWO),
        ("here", _TWO),
        ("95% interval", as_interval),
        ("here - published", with_digits(2)),
        ("its 95% interval", as_interval),
    )
    notes = (
        "Pearson's r of the differences that masking each head makes; the interval is that of our heads alone. "
        "Published: bert-base-uncased on MNLI, matched and mismatched.",
        *precision_note(record),
    )
    sheet = Sheet(
        f"Figure 2: do heads matter alike on two data sets, {subject_of(record)}", columns, tuple(rows), notes
    )
    return Shown(sheet, {"": ablation_scatter(record)})
