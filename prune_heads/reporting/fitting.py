"""What `prune-heads fit` found: the candidates and what their tests say, and what would have to be there for more."""

from collections.abc import Iterator

from prune_heads.reporting.terminal import pruned_page, run_page
from prune_heads.reporting.words import Record, metric_name, subject_of
from prune_heads.tables import Page, Table

_VERDICTS = {"kept": "shown", "open": "not shown", "lost": "refuted", None: "not tested"}
_FORMS = {"saved": "{:.1%}", "in training": "+.4f", "lost": "+.4f", "p": ".2g", "speed": ".2f", "ms": ".1f"}


def fit_page(record: Record) -> Page:
    """The candidates, fewest heads gone first; what is shown, what else could be, and the model that is kept."""
    rows, budget = list[Record](), record["configuration"]["budget"].replace("milliseconds", "multiply-adds")
    whole = record["n_heads"] if budget == "heads" else record["costs"][budget.replace("-", "_")]
    for row in record["fit"]["candidates"]:
        found = {"heads gone": row["n_pruned"], "saved": row["saved"] / whole, "in training": row["chosen"]["lost"]}
        found |= {"lost": row.get("lost"), "p": row.get("p_value"), "less is lost": _VERDICTS[row.get("verdict")]}
        rows.append(found | ({"speed": row["speed"], "ms": row["milliseconds"]["after"]} if "speed" in row else {}))
    note = f"saved: of all {budget}; in training: {metric_name(record)} lost where heads were chosen; lost: in the test"
    note += "; speed: times that of all heads; ms: milliseconds a batch." if "speed" in rows[0] else "."
    table = Table.of("Candidates", rows, _FORMS, (note,))
    parts = run_page({**record, "curve": []}, narrow=True).parts[:-1]
    title = f"{subject_of(record)}: heads that can go for a loss below {record['configuration']['max_loss']:g}"
    return Page(title, (table, *_said(record), *parts, *pruned_page(record).parts))


def _said(record: Record) -> Iterator[str]:
    """What is shown, and of the candidate that ended the test what is shown of it, and by how many examples more."""
    asked, n, on = record["configuration"], record["fit"]["n_shown"], record["rows"][0]
    margin, so, gone = f"{asked['max_loss']:g}", "Not shown" if n is None else "Shown", record["curve"][0]["n_pruned"]
    heads = "some heads. The model stays as it is" if n is None else f"{n} heads"
    heads += f". {gone} heads were gone before: what was lost by these does not count" * (gone > 0)
    less = f"this model loses less than {margin} of {metric_name(record)} without {heads}"
    yield f"{so} at {100 * asked['confidence']:g}% confidence: {less}."
    yield f"The test has {on['n_examples']:,} examples of {on['split']}, on which nothing was chosen."
    for row in record["fit"]["candidates"]:
        if (needed := row.get("examples_needed")) is not None:
            more = f"More examples would show {margin} only if less is lost than here"
            if needed > on["n_examples"]:
                so = "If nothing is lost and as many answers change"
                more = f"{so}, {needed:,} examples would show {margin} in 80% of tests"
            yield f"Without {row['n_pruned']} heads these examples show a loss below {row['limit']:.4f}. {more}."
