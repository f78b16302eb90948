"""The tables of results/heads.md, from the records beside it: `python -m tests.heads_page` writes them."""

import json
import re
from collections import Counter
from itertools import chain
from pathlib import Path

from prune_heads.reporting.words import subject_of, whose
from prune_heads.tables import Table

RESULTS = Path(__file__).resolve().parents[1] / "results"
MODELS = ("mini", "sst2", "mnli", "cola")
EFFECTS = {"mini": "mini-without-one", "sst2": "sst2-without-one", "mnli": "mnli-heads", "cola": "cola-without-one"}
NAMES = {"js": "attention (JS)", "cka": "outputs (CKA)", "cosine": "outputs (cosine)"}


def record(name):
    return json.loads((RESULTS / name / "record.json").read_text("utf-8"))


def every(kind):
    return [record(f"{model}-{kind}") for model in MODELS]


def span(value, low, high, form):
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def roles():
    for found in every("roles"):
        names = [cell for cell in chain(*found["roles"]) if cell is not None]
        counts = Counter(chain(*names))
        shown = ", ".join(f"{n} {name}" for name, n in counts.most_common())
        yield {"model": whose(found), "heads": len(names), "without a role": sum(not cell for cell in names)} | {
            "roles (a head may have several)": shown
        }


def importance():
    for found in every("roles"):
        for series in chain(*(run.get("series", ()) for run in found["compared"])):
            share = series["explained"]
            best = max(series["correlations"], key=lambda pair: abs(pair["within"]["value"] or 0))
            yield {
                "model": whose(found),
                "importance": series["name"].removeprefix(f"{found['model']['name']} "),
                "layers": f"{share['layers']:.0%}",
                "layers and roles": f"{share['layers_and_roles']:.0%}",
                "by chance (95%)": span(*(share[name] for name in ("chance", "low", "high")), ".0%"),
                "p": f"{share['p_value']:.2g}",
                "best score within layers": best["score"],
                "its correlation (95%)": span(*(best["within"][name] for name in ("value", "low", "high")), ".2f"),
            }


def agreement():
    for found in every("roles"):
        for run in found["compared"]:
            if run["kind"] == "roles":
                kappa = run["agreement"]
                yield {
                    "roles": subject_of(found),
                    "beside": run["name"],
                    "same role": f"{kappa['share']:.0%}",
                    "Cohen's kappa (95%)": span(*(kappa[name] for name in ("kappa", "low", "high")), ".2f"),
                }


def effects():
    for name in MODELS:
        found = record(EFFECTS[name])
        table = found["tables"][0]
        counts = [
            sum(p is not None and p < table["alpha"] for p in chain(*of["p_adjusted"]["holm"]))
            for of in (table, table["likelihood"])
        ]
        cells = {
            f"{layer}:{head}": delta
            for layer, row in enumerate(table["likelihood"]["delta"], 1)
            for head, delta in enumerate(row, 1)
        }
        worst = min(cells, key=cells.__getitem__)
        yield {
            "model": whose(found),
            "examples": table["n_examples"],
            "heads": len(cells),
            "significant by the metric": counts[0],
            "by log-likelihood": counts[1],
            "largest loss": worst,
            "nats an example": f"{cells[worst]:+.3f}",
        }


def pairs():
    for found in every("pairs"):
        table = found["pairs"][0]
        kept = [row for row in table["rows"] if row["p_holm"] < table["alpha"]]
        most = max(table["rows"], key=lambda row: abs(row["interaction"]))
        yield {
            "model": whose(found),
            "examples": table["n_examples"],
            "pairs": len(table["rows"]),
            "stand in for each other": sum(row["interaction"] > 0 for row in kept),
            "need each other": sum(row["interaction"] < 0 for row in kept),
            "largest": f"{most['first']} {most['second']}",
            "nats (95%)": span(*(most[name] for name in ("interaction", "low", "high")), "+.3f"),
        }


def similarity():
    for found in every("similar"):
        cells = {NAMES[each["measure"]]: each for each in found["agreement"]}
        yield {"model": whose(found), "pairs": found["agreement"][0]["n_pairs"]} | {
            name: span(*(each[part] for part in ("value", "low", "high")), "+.2f") for name, each in cells.items()
        }


TABLES = {
    made.__name__: made for made in (effects, roles, importance, agreement, pairs, similarity)
}  # marker -> what makes its rows


def filled(text):
    """The page with all tables as the records have them."""

    def table(match):
        made = Table.of("", list(TABLES[match[1]]())).to_markdown().strip()
        return f"<!-- table: {match[1]} -->\n\n{made}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- end -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    page = RESULTS / "heads.md"
    page.write_text(filled(page.read_text("utf-8")), "utf-8")
