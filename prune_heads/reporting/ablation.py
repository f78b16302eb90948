"""Ablations: layers down, heads across, as the paper's table 1; below, the best head of each layer.

A record holds differences of metrics; people read signed points, hundredths. Layers, by row, and heads count from 1.
"""

from collections.abc import Iterator, Mapping, Sequence

from prune_heads.reporting.words import Record, Row, heads_table, interval, layer_names, metric_name, subject_of
from prune_heads.tables import MARK, Cell, Form, Page, Table
from prune_heads.visible import csv_of

SIGNIFICANT, CORRECTED = "*", "#"  # of a head that is significant, and of one that stays so after Holm's correction
ABSENT = "-"  # stands where a head was removed before, or not asked for

KINDS = {"without-one": "without one head", "only-one": "with one head alone in its layer"}  # what was measured

_POINT = {"log_likelihood": "0.01 nat a token"}  # metric -> what a point of it is, where it is not a share
RELIABLE = 0.7  # what the reliability of an order should be (Nunnally, 1978)
_SAME = "No head changes an answer: more examples are needed."
_WIDTH = 5  # characters of a number in the terminal: sign, point, three digits


def points(delta: float, digits: int = 2) -> str:
    """A difference in points, e.g. `-1.48`; no sign where nothing changed."""
    return f"{100 * delta:+.{digits}f}" if delta else f"{0:.{digits}f}"


_POINTS = Form(points)
_OF_BEST: dict[str, Form | str] = {
    "difference": _POINTS,
    "95% interval": Form(lambda ends: " to ".join(map(points, ends))),
    "p (Holm)": ".2g",
    "difference here": _POINTS,
}


def in_points(kind: str, metric: str) -> str:
    """What the numbers of an ablation are, for titles."""
    return f"{KINDS[kind]}, difference in points (1 point = {_POINT.get(metric, '0.01')})"


def differences(table: Record) -> list[list[Cell | None]]:
    """Metric with the mask minus metric without: one row a block, one a head; None where it was not measured."""
    rows = zip(table["delta"], table["p_value"], table["p_adjusted"]["holm"], strict=True)
    alpha = table["alpha"]
    return [[None if each[0] is None else _cell(*each, alpha) for each in zip(*row, strict=True)] for row in rows]


def _cell(delta: float, p: float, holm: float, alpha: float) -> Cell:
    """With its mark; losses red, gains blue, as in the figures."""
    colour = "red" if delta < 0 else "blue"
    if holm < alpha:
        return Cell(delta, CORRECTED, f"bold white on {colour}")
    return Cell(delta, SIGNIFICANT, f"bold {colour}") if p < alpha else Cell(delta)


def ablation_page(record: Record, *, narrow: bool = False, details: bool = False) -> Page:
    """All tables of `prune-heads ablate`, the correlations between its splits, and the flips.

    A narrow one is for a terminal, where sixteen heads fit into 110 columns, and twelve into 80: a table with a loss of
    ten points has one decimal less.
    """
    parts: list[Table | str] = []
    for table in record["tables"]:
        parts += [ablation_table(table, subtitle(table), narrow=narrow), *([_best(table)] if table["best"] else [])]
        parts += filter(None, [details_table(table) if details else None])
    below = [
        f"Correlation of {pair['n_heads']} differences on {pair['first']} and {pair['second']}: Pearson r "
        f"{interval(pair, 'pearson')}, Spearman {interval(pair, 'spearman')}."
        for pair in record["correlations"]
    ]
    if flips := record["flips"]:  # none in float32, and for scores
        below.append(
            f"Predictions that {flips['dtype']} flips: {flips['n_flipped']:,} of {flips['n_predictions']:,} "
            f"({flips['n_examples']:,} examples of {flips['split']}, {flips['n_masks']} masks)."
        )
    what = f"{metric_name(record)} {in_points(record['kind'], record['headline'])}"
    return Page(f"{subject_of(record)}: {what}", (*parts, *below))


def ablation_csv(record: Record) -> str:
    """In long form, numbers in full: one row a head and split; heads that were not measured have none."""
    return csv_of({"split": table["split"], **row} for table in record["tables"] for row in head_rows(table))


def head_rows(table: Record, kind: str = "") -> Iterator[Row]:
    """An object a head that was measured, of all blocks or of a kind, `E:`: its place, metric, difference, p-values."""
    cells = {name: table[name] for name in ("value", "delta", "low", "high", "p_value")}
    cells |= {f"p_{name}": adjusted for name, adjusted in table["p_adjusted"].items()}
    cells |= table.get("changed") or {}
    together = table.get("together") or {}
    cells |= {_OF_COLUMNS.get(name, name): of for name, of in together.items() if isinstance(of, list)}
    rows = _cells({**cells, "blocks": table["blocks"]}, list(cells))
    return (row for row in rows if row["layer"].startswith(kind))


_OF_COLUMNS = {"low": "low_together", "high": "high_together", "max_t": "p_max_t", "first": "place_first"}
_OF_COLUMNS |= {"last": "place_last"}


def best_csv(record: Record) -> str:
    """One row a layer and split: the head chosen on another split, and the one this split would choose."""
    return csv_of(
        {"split": table["split"]}
        | {name: value for name, value in row.items() if name != "best_here"}
        | {f"best_here_{name}": value for name, value in row["best_here"].items()}
        for table in record["tables"]
        for row in table["best"] or ()
    )


def ablation_table(table: Record, title: str, *, narrow: bool = False) -> Table:
    """The differences on one split, what their marks mean, and how many there are of each."""
    rows, alpha, width = differences(table), table["alpha"], _WIDTH * narrow
    found = [cell for row in rows for cell in row if cell]
    digits = 1 if narrow and 100 * max(abs(cell.value) for cell in found) >= 9.995 else 2
    form = Form(lambda delta: f"{points(delta, digits):>{width}}", MARK)
    is_whole = len(found) == sum(map(any, rows)) * max(map(len, rows))
    bh = sum(p < alpha for row in table["p_adjusted"]["bh"] for p in row if p is not None)
    up, down = ([cell for cell in found if sign * cell.value > 0] for sign in (1, -1))
    sure, sure_up, sure_down = (sum(cell.mark != "" for cell in cells) for cells in (found, up, down))
    notes = (
        f"{_marks(table, f'{len(found)} heads')}{'' if is_whole else f'; {ABSENT} not measured'}.",
        f"The metric is higher than with all heads for {len(up)} of {len(found)} heads, and lower for {len(down)}. It "
        f"differs significantly (p < {alpha:g}) for {sure} ({sure_up} higher, {sure_down} lower); after Holm for "
        f"{sum(cell.mark == CORRECTED for cell in found)}, after Benjamini-Hochberg for {bh}.",
        *_together(table),
        *_equivalence(table),
        *_response(table),
    )
    return heads_table(title, table, rows, form, notes, absent=f"{ABSENT:>{width}}", gap=0 if narrow else 2)


def response_of(found: Record) -> tuple[str, str, Record] | None:
    """What records say of the response beside the metric: its name, its unit, and the numbers; None if nothing."""
    if (of := found.get("likelihood")) is not None:
        return "log-likelihood of the right answer", "nats", of if isinstance(of, Mapping) else {"value": of}
    return (of["name"], of["unit"], of) if (of := found.get("response")) else None


def _response(table: Record) -> Iterator[str]:
    """What the ablations do to the response beside the metric, where it was measured."""
    if of := response_of(table):
        name, unit, found = of
        rows = list(head_rows({**found, "value": found["delta"], "blocks": table["blocks"]}))
        most, n = min(rows, key=lambda row: row["delta"]), sum(row["p_holm"] < table["alpha"] for row in rows)
        yield (
            f"{name[:1].upper()}{name[1:]}: {found['base']:.4f} {unit} an example with all heads; the largest loss "
            f"is {max(0.0, -most['delta']):.4f} ({most['layer']}:{most['head']}); significant after Holm {n} "
            f"({found['test']})."
        )


def subtitle(table: Record) -> str:
    """On what a table was measured, and whether the order of its heads is of little worth."""
    about = table.get("together") or {}
    groups = f" in {about['n_groups']:,} groups" if about.get("n_groups") else ""
    said = f"{table['split']}, {table['n_examples']:,} examples{groups}, {table['base']:.4f} with all heads"
    found = about.get("reliability")
    return said if found is None or found >= RELIABLE else f"{said}; the order of the heads is not reliable"


def _together(table: Record) -> Iterator[str]:
    """What all heads together say, of a record that holds it."""
    about, blocks = table.get("together"), {"blocks": table["blocks"]}
    if changed := table.get("changed"):
        rows = list(_cells({**changed, **blocks}, ("to_right", "to_wrong")))
        most = max(rows, key=lambda row: row["to_right"] + row["to_wrong"])
        n = sum(row["to_right"] + row["to_wrong"] for row in rows)
        yield (
            f"Answers that change: {n / len(rows):.1f} a head, the most without {most['layer']}:{most['head']} "
            f"({most['to_right']} to right, {most['to_wrong']} to wrong)."
        )
    if not about:
        return
    if (found := about["reliability"]) is not None:
        yield (
            f"The order of the heads is {'not ' * (found < RELIABLE)}reliable: on as many other examples it would "
            f"agree by {found:.2f} (split halves {about['split_half']:.2f}, Spearman-Brown)."
        )
    n = sum(p is not None and p < table["alpha"] for row in about["max_t"] for p in row)
    few = f" Intervals are not to be relied on: {about['few']}." if about["few"] else ""
    found = about["smallest_difference"]  # none, in older records 0, where no head changes anything
    least = f"A difference of {100 * found:.2f} points would be found in 80% of such samples." if found else _SAME
    yield f"All heads at once: significant for {n} (max-t, p < {table['alpha']:g}). {least}{few}"
    rows = sorted(_cells({**about, **blocks, "delta": table["delta"]}, _shown(about)), key=lambda row: row["delta"])
    said = (
        f"{which}: {row['layer']}:{row['head']} {points(row['delta'])}, {_shrunk(row)}"
        f"place {row['first']} to {row['last']} of {len(rows)}"
        for which, row in (("Lowest", rows[0]), ("highest", rows[-1]))
    )
    yield f"{'; '.join(said)}."


def _equivalence(table: Record) -> Iterator[str]:
    if found := table.get("equivalence"):
        verdicts = [each for row in found["verdict"] for each in row if each is not None]
        n = {which: sum(each == which for each in verdicts) for which in ("kept", "lost")}
        yield (
            f"Without one head the metric changes by less than {found['margin']:g}: shown for {n['kept']} of "
            f"{len(verdicts)} heads, refuted for {n['lost']} (two one-sided tests at 5%, each head on its own)."
        )


def _shown(about: Record) -> tuple[str, ...]:
    """What is shown of each head; of records without a prior, shrunken estimates are left out, for they were wrong."""
    estimates = ("shrunk", "shrunk_error", "lower_half") if "prior" in about else ()
    return "delta", "low", "high", "max_t", "first", "last", *estimates


def _shrunk(row: Row) -> str:
    if "shrunk" not in row:
        return ""
    return f"shrunk {points(row['shrunk'])} (error {100 * row['shrunk_error']:.2f}), "


def _cells(table: Record, names: Sequence[str]) -> Iterator[Row]:
    """An object a head that was measured, of rows of cells by name."""
    for layer, *rows in zip(layer_names(table), *(table[name] for name in names), strict=True):
        for head, values in enumerate(zip(*rows, strict=True), start=1):
            if values[0] is not None:
                yield {"layer": layer, "head": head, **dict(zip(names, values, strict=True))}


def details_table(table: Record) -> Table | None:
    """A row a head, the lowest difference first; None of a record without what is said of all heads together."""
    if not (about := table.get("together")):
        return None
    found = {**about, "blocks": table["blocks"], "delta": table["delta"]}
    rows = (
        {
            "head": f"{row['layer']}:{row['head']}",
            "difference": row["delta"],
            "95%, all at once": (row["low"], row["high"]),
        }
        | {"p (max-t)": row["max_t"], "place": f"{row['first']} to {row['last']}"}
        | ({"shrunk": (row["shrunk"], row["shrunk_error"]), "lower half": row["lower_half"]} if "shrunk" in row else {})
        for row in sorted(_cells(found, _shown(about)), key=lambda row: row["delta"])
    )
    return Table.of(f"All heads, {table['split']}: differences in points", rows, _OF_ALL, (_ABOUT_ALL,), gap=1)


_OF_ALL: dict[str, Form | str] = {
    "difference": _POINTS,
    "95%, all at once": Form(lambda ends: " to ".join(map(points, ends))),
    "p (max-t)": ".2g",
    "shrunk": Form(lambda both: f"{points(both[0])} ({100 * both[1]:.2f})"),
    "lower half": ".2f",
}
_ABOUT_ALL = (
    "95%, all at once: these intervals hold together. p (max-t): adjusted for all heads. place: 1 is the lowest "
    "difference; places hold together, too. shrunk: empirical-Bayes estimate with its error. lower half: probability "
    "to be there."
)


def _best(table: Record) -> Table:
    """The best head of each layer, chosen on another split; beside it the one that this split would choose."""
    rows = [
        {"layer": row["layer"], "head": row["head"]}
        | {"difference": _cell(row["delta"], row["p_value"], row["p_holm"], table["alpha"])}
        | {"95% interval": (row["low"], row["high"]), "p (Holm)": row["p_holm"]}
        | {"best here": row["best_here"]["head"], "difference here": row["best_here"]["delta"]}
        for row in table["best"]
    ]
    chosen = f"{table['best'][0]['chosen_examples']:,} examples of {table['best'][0]['chosen_on']}"
    title = f"The best head of each layer, chosen on {chosen}, tested on {table['split']}"
    flattered = "best here: the head that this very split would choose, which flatters it"
    return Table.of(title, rows, _OF_BEST, (f"{_marks(table, f'{len(rows)} layers')}; {flattered}.",))


def _marks(table: Record, family: str) -> str:
    return (
        f"Marked {SIGNIFICANT} where p < {table['alpha']:g} ({table['test']} test), {CORRECTED} where it stays so "
        f"after Holm's correction over {family}"
    )
