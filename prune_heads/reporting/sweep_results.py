"""What came out of a sweep: a long-form table, a row a trial, split and metric, and the panels that show it.

Trials are told apart by all that was asked for and by the fingerprints of what was found; a name only shows. Where two
folders have one name, each is shown with as much of its path as tells them apart. Figure and tables show the same
panels: one a task, model and split, in it a line a criterion and whatever else varies.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import PurePath
from typing import Any

from prune_heads.files import canonical
from prune_heads.options.scoring import DRAWS
from prune_heads.reporting.words import Record
from prune_heads.tables import Form, Page, Table

FOUND = ("split", "metric", "n_examples", "base", "pruned", "difference", "low", "high")
FINGERPRINTS = ("model_fingerprint", "data_fingerprint", "scored_fingerprint")
"""Of the model, of the examples of the split, and of those that heads were scored on (None: there were none)."""
_DIGITS = 12  # of a fingerprint, which tell a few thousand apart
Rows = Sequence[Record]
OF_A_PANEL = ("task", "model", "split")
_ALONG_A_LINE = ("trial", "seed", "fraction", "n_heads", "n_pruned", "headline")
_OF_DATA = ("data_dir", "train_file", "validation_file", "max_examples")  # panels imply them, if all agree
_Cell = tuple[Any, str, str]


def draws(values: Mapping[str, Any]) -> bool:
    """Whether what is pruned in a trial of these values, or its curve, depends on the seed."""
    draws_scores = values["criterion"] in DRAWS or ":" in values["criterion"]  # one's own may
    return (draws_scores and (values["heads"] is None or values["curve"])) or values.get("replace") == "resample"


def result_rows(axes: Iterable[str], records: Mapping[str, Record]) -> Iterator[dict[str, Any]]:
    """The rows of trials, by their digests and their records, in the order of the digests; `axes` are what varies.

    Columns: the trial's digest; model, task and what varies; heads pruned of all; split, metric, examples; the metric
    before and after, their difference and its 95% interval; whether it is the headline metric; fingerprints.

    Of trials that draw nothing one seed is taken, the least: an older sweep may have run them all.
    """
    axes = dict.fromkeys(["model", "task", *axes])
    least: dict[str, str] = {}  # what is the same but for an idle seed -> digest
    for digest, record in records.items():
        values, prints = record["trial"]["values"], [each["fingerprint"] for each in (record["model"], *record["data"])]
        same = digest if draws(values) else canonical({**values, "of": prints, "seed": None})
        if same not in least or values["seed"] < records[least[same]]["trial"]["values"]["seed"]:
            least[same] = digest
    cells = {digest: {axis: _cell(records[digest], axis) for axis in axes} for digest in sorted(least.values())}
    names = {axis: _names({each[axis] for each in cells.values() if each[axis][1]}) for axis in axes}
    for digest, row_cells in cells.items():
        record = records[digest]
        about = {"trial": digest} | {axis: names[axis].get(cell, cell[0]) for axis, cell in row_cells.items()}
        about |= {"n_pruned": record["n_pruned"], "n_heads": record["n_heads"]}
        data = {split["split"]: split["fingerprint"] for split in record["data"]}
        scored = record["scored_on"] and record["scored_on"]["fingerprint"]
        for row in record["rows"]:
            prints = [record["model"]["fingerprint"], data[row["split"]], scored]
            shown = {name: value and value[:_DIGITS] for name, value in zip(FINGERPRINTS, prints, strict=True)}
            is_headline = row["metric"] == record["headline"]
            yield {**about, **{name: row[name] for name in FOUND}, "headline": is_headline, **shown}


def _cell(record: Record, axis: str) -> _Cell:
    """What is shown of an option; of texts what was written, which may be the path of what is shown; a fingerprint.

    Shown is what was meant, not what was written: no estimator where the criterion has none, heads as such. Lists are
    text, so that a column has one type.
    """
    written = record["trial"]["values"][axis]
    meant = {**record["trial"]["values"], **record["configuration"], "model": record["model"]["name"]}[axis]
    shown = ", ".join(map(str, meant)) if isinstance(meant, list) else meant
    path = PurePath(written).as_posix() if isinstance(written, str) and isinstance(meant, str) else ""
    return shown, path, record["model"]["fingerprint"] if axis == "model" else ""


def _names(cells: Collection[_Cell]) -> dict[_Cell, str]:
    """A name for each of these that no other has: the shortest end of its path, and a fingerprint where paths agree."""
    names = {cell[:2]: str(cell[0]) for cell in cells}
    for n in range(1, 1 + max((len(PurePath(path).parts) for _, path in names), default=0)):
        used = Counter(names.values())
        for shown, path in [key for key, name in names.items() if used[name] > 1]:
            names[shown, path] = PurePath(*PurePath(path).parts[-n:]).as_posix()
    there = Counter(cell[:2] for cell in cells)
    return {cell: names[cell[:2]] + f" ({cell[2][:_DIGITS]})" * (there[cell[:2]] > 1) for cell in cells}


def varying(rows: Rows, names: Sequence[str]) -> list[str]:
    """Of these columns, those that hold more than one value."""
    return [name for name in names if len({row.get(name) for row in rows}) > 1]


@dataclass(frozen=True)
class Panel:
    """What was measured of one task, model and split."""

    title: str
    metric: str
    n_examples: int
    lines: Mapping[str, Mapping[float, tuple[float, ...]]]  # name -> heads pruned (percent) -> the metric by each seed
    rows: Rows = field(compare=False)
    ends: Mapping[str, Mapping[float, tuple[float, float]]] = field(compare=False, default_factory=dict)
    """As `lines`, where a point is of one trial: the metric of the whole model plus the interval of the difference."""


def panels(rows: Rows) -> list[Panel]:
    """The panels of the headline metrics of rows that `result_rows` gives, in the order of their names."""
    options = [name for name in rows[0] if name not in (*OF_A_PANEL, *_ALONG_A_LINE, *FOUND, *FINGERPRINTS)]
    rows = [{**row, "share": 100 * row["n_pruned"] / row["n_heads"]} for row in rows if row["headline"]]
    groups = list(_grouped(rows, (*OF_A_PANEL, "metric", "n_examples", *FINGERPRINTS[:2])).values())
    within = {*chain(*(varying(group, options) for group in groups))}
    by = [name for name in varying(rows, options) if name not in _OF_DATA or name in within]
    names = _names_of_lines(_grouped(rows, by), by)
    found = []
    for title, group in zip(_titles(groups, options), groups, strict=True):
        lines: dict[str, Mapping[float, tuple[float, ...]]] = {}
        ends = {}
        for line in _grouped(group, (*options, *FINGERPRINTS)).values():
            name = names[tuple(line[0].get(option) for option in by)]
            if name in lines:  # all that was asked for is the same: the examples to score on have changed
                name += f" (scored on {line[0]['scored_fingerprint']})"
            at = {share: same for (share,), same in sorted(_grouped(line, ["share"]).items())}
            # Two ways to ask for as many heads are one measurement.
            found_at = {share: {(row.get("seed"), row["pruned"]) for row in same} for share, same in at.items()}
            lines[name] = {share: tuple(sorted(value for _, value in each)) for share, each in found_at.items()}
            single = {share: same[-1] for share, same in at.items() if len(found_at[share]) == 1}
            ends[name] = {share: (row["base"] + row["low"], row["base"] + row["high"]) for share, row in single.items()}
        metric = group[0]["metric"].replace("_", " ")
        found.append(Panel(title, metric, group[0]["n_examples"], dict(sorted(lines.items())), group, ends))
    return sorted(found, key=lambda panel: (*(str(panel.rows[0][name]) for name in OF_A_PANEL), panel.title))


def seeds_sentence(rows: Rows) -> str:
    """What a point and its band are, and of which lines, where there are several seeds; else nothing."""
    lines = [(name, max(map(len, points.values()))) for panel in panels(rows) for name, points in panel.lines.items()]
    several = dict.fromkeys(name for name, n in lines if n > 1)
    if not several:
        return ""
    numbers = sorted({n for _, n in lines if n > 1})
    n = " to ".join(map(str, dict.fromkeys([numbers[0], numbers[-1]])))
    whose = f", of {', '.join(several)}" if len(several) < len({name for name, _ in lines}) else ""
    return f"mean over {n} seeds, from the least to the most{whose}"


def _titles(groups: Sequence[Rows], options: Sequence[str]) -> list[str]:
    """A title for each panel that no other has."""
    first = [group[0] for group in groups]
    shown = varying(first, OF_A_PANEL) or ["task"]
    titles = [" / ".join(str(row[name]) for name in shown) for row in first]
    for name in (*options, "metric", "n_examples", *FINGERPRINTS[:2]):
        for title in {*titles}:
            same = [i for i, each in enumerate(titles) if each == title]
            if varying([first[i] for i in same], [name]) and not any(varying(groups[i], [name]) for i in same):
                for i in same:
                    titles[i] += f" / {name} {first[i][name]}"
    return titles


def _names_of_lines(there: Collection[tuple[Any, ...]], by: Sequence[str]) -> dict[tuple[Any, ...], str]:
    """What lines are called: texts as they are; numbers, and all where names would meet, with what they are of."""
    for is_full in (False, True):
        names = {}
        for values in there:
            given = [(key, value) for key, value in zip(by, values, strict=True) if value is not None]
            words = (f"{key} {value}" if is_full or not isinstance(value, str) else value for key, value in given)
            names[values] = " / ".join(words)
        if len({*names.values()}) == len(names):
            break
    return names


def _grouped(rows: Rows, names: Sequence[str]) -> dict[tuple[Any, ...], list[Record]]:
    """The values of these columns -> the rows that have them."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return groups


def results_page(name: str, rows: Rows) -> Page:
    """The headline metrics: a table a panel, heads pruned down, lines across."""
    seeds = seeds_sentence(rows)
    parts: list[Table | str] = [f"{seeds[0].upper()}{seeds[1:]}."] if seeds else []
    for panel in panels(rows):
        percents = sorted({at for points in panel.lines.values() for at in points})
        lines = {name or panel.metric: points for name, points in panel.lines.items()}
        cells = ({"heads pruned": at, **{name: of.get(at) for name, of in lines.items()}} for at in percents)
        forms: dict[str, Form | str] = {"heads pruned": "{:.0f}%", **dict.fromkeys(lines, Form(_mean_and_range))}
        parts.append(Table.of(f"{panel.title}: {panel.metric}, {panel.n_examples} examples", cells, forms))
    return Page(name, tuple(parts))


def _mean_and_range(values: Sequence[float]) -> str:
    """`0.874`, and where seeds differ how much: `0.874 (0.861 to 0.880)`."""
    mean, low, high = (f"{value:.4f}" for value in (sum(values) / len(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"
