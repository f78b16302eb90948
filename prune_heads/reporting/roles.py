"""What each head does: heads by role, a map of roles, and how roles agree with importance and with other runs."""

from collections.abc import Iterator
from itertools import chain
from operator import itemgetter
from typing import Any

from prune_heads.descriptors import HeadCounts
from prune_heads.heads import HeadMask
from prune_heads.reporting.figures import Figure, drawing
from prune_heads.reporting.figures.maps import cells, grid_of
from prune_heads.reporting.words import Record, estimate, interval, layer_names, subject_of, whose, with_number
from prune_heads.roles import FAMILIES, NONE, ROLES
from prune_heads.tables import Page, Table

_STRONGEST = 5  # correlations of a run that a terminal shows


def roles_page(record: Record, *, whole: bool = False) -> Page:
    """Heads by role, the relations of words, and what other runs say; `whole` has all scores of these."""
    texts = f"{record['n_texts']:,} text{'s' * (record['n_texts'] != 1)} of {record['split']}"
    counts = HeadCounts.described(record["blocks"])
    rows = []
    for row in record["definitions"]:
        every = ((b, h, names) for b, cells in enumerate(record["roles"]) for h, names in enumerate(cells))
        heads = HeadMask(counts, frozenset((b, h) for b, h, names in every if row["role"] in (names or ())))
        needs = [f"{name} >= {least:g}" for name, least in row["at_least"].items()]
        needs += [f"{name} <= {most:g}" for name, most in row["at_most"].items()]
        if heads or whole:
            found = {"role": row["role"], "heads": len(heads), "which": str(heads)}
            rows.append(found | ({"where": " or ".join(needs), "threshold of": row["threshold_of"]} if whole else {}))
    measured = [names for names in chain(*record["roles"]) if names is not None]
    none = f"{sum(not names for names in measured)} of {len(measured)} heads have none of these roles"
    notes = (f"A head may have several roles; {none}. Layers and heads count from 1.",)
    title = f"{subject_of(record)}: what heads do on {texts}"
    return Page(title, (Table.of("", rows, notes=notes), *_syntax(record, whole), *_compared(record, whole)))


def _syntax(record: Record, whole: bool) -> Iterator[Table | str]:
    """A row a relation and direction: its best head beside the best fixed offset."""
    if not (syntax := record["syntax"]):
        return
    names, rows = layer_names(record), []
    for column in (column for column in record["columns"] if column["name"] in syntax["relations"]):
        name, pairs = column["name"], syntax["relations"][column["name"]]
        every = ((v, b, h) for b, row in enumerate(column["values"]) for h, v in enumerate(row) if v is not None)
        accuracy, block, head = max(every, key=itemgetter(0))
        low, high, null = (column[end][block][head] for end in ("low", "high", "null"))
        best = {"relation": name, "best head": f"{names[block]}:{head + 1}", "accuracy": accuracy}
        best |= {"95% interval": (low, high)} if whole else {}
        best |= {"best offset": f"{pairs['best_offset']:+d}", "its accuracy": null, "pairs": pairs["n_pairs"]}
        rows.append(best)
    left_out = f", {syntax['n_left_out']:,} left out" if syntax["n_left_out"] else ""
    note = f"{syntax['n_sentences']:,} sentences of {syntax['source']}{left_out}."
    forms = {"accuracy": ".3f", "its accuracy": ".3f", "95% interval": ".3f to", "pairs": ",d"}
    yield Table.of("Relations of words", rows, forms, (note,))


def _compared(record: Record, whole: bool) -> Iterator[Table | str]:
    """Per run: what roles explain and the scores that predict it best; or how far roles agree."""
    titles = {column["name"]: column["title"] for column in record["columns"]}
    for run in record["compared"]:
        if run["kind"] == "roles":
            found = run["agreement"]
            why = f" ({found['reason']})" if found.get("reason") else ""  # older records have none
            kappa = estimate({**found, "value": found["kappa"]}, "95% ") + why
            share = "no" if found["share"] is None else f"{found['share']:.0%} of {found['n_heads']}"
            notes = [f"{share} heads share their role; Cohen's kappa {kappa}."]
            yield _pairs(f"Roles of {run['name']} ({run['source']})", run["scores"], titles, notes, whole)
            continue
        for series in run["series"]:
            found = series["explained"]
            notes = ["More is more important."]
            if found["layers"] is not None:
                chance = estimate({**found, "value": found["chance"]}, "95% ", ".0%")
                notes.append(
                    f"Of the variance of ranks layers explain {found['layers']:.0%}, layers and roles "
                    f"{found['layers_and_roles']:.0%}; with roles shuffled within layers {chance}, p = "
                    f"{found['p_value']:.2g}."
                )
            yield _pairs(f"Importance: {series['name']}", series["correlations"], titles, notes, whole)


def _pairs(title: str, pairs: list[Any], titles: Record, notes: Any, whole: bool) -> Table:
    """Spearman's correlation of each score, over all heads and within layers, the strongest within layers first."""
    within = sorted(pairs, key=lambda pair: -abs(pair["within"]["value"] or 0))
    rows = [
        {
            "score": pair["score"],
            **({"what": titles[pair["score"]], "heads": pair["n_heads"]} if whole else {}),
            "all heads": interval(pair, "spearman", ""),
            "within layers": interval(pair, "within", ""),
        }
        for pair in (within if whole else within[:_STRONGEST])
    ]
    some = f"The {_STRONGEST} strongest of {len(pairs)} scores, named in 'guide heads'. "
    few = "" if whole or len(pairs) <= _STRONGEST else some
    return Table.of(title, rows, notes=(f"{few}Spearman's correlation, 95% interval.", *notes))


def roles_figure(record: Record) -> Figure:
    """Layers down, heads across, coloured by family of roles; a cell has the code of its role, a legend the names."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    values = next(column for column in record["columns"] if column["name"] == "role")["values"]
    width, present = max(map(len, values)), [role for role in ROLES.values() if role.name in {*chain(*values)}]
    places = {role.name: i for i, role in enumerate(present)} | {NONE: len(present)}
    names = [*("  ".join(dict.fromkeys((role.code, role.name))) for role in present), "none of these"]
    codes, colours = [*(role.code for role in present), ""], [*(FAMILIES[role.family] for role in present), "0.97"]
    looks: dict[str, Any] = {"cmap": ListedColormap(colours), "vmin": -0.5, "vmax": len(present) + 0.5}
    grid = grid_of([list(map(places.get, row)) for row in values])
    with drawing(3.6 + 0.42 * width, 1.6 + 0.42 * max(len(values), len(present) / 1.6)) as (figure, (axes,)):
        cells(axes, grid, layer_names(record), lambda place: codes[int(place)], **looks)
        axes.set(xlabel="head", ylabel="layer")
        axes.set_xticks(range(width), [str(head + 1) for head in range(width)])
        axes.set_title(f"{whose(record)}: roles, {with_number(record['split'], record['n_texts'])} texts", fontsize=10)
        legend = [Patch(facecolor=c, edgecolor="0.4", label=name) for c, name in zip(colours, names, strict=True)]
        axes.legend(handles=legend, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    return figure
