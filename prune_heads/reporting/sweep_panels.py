"""The results of a sweep in order: a panel a task, model and split, in it a line a criterion and whatever else varies.

Figure and tables show the same panels. What belongs together is decided by every column of the rows; titles and names
of lines are made from those that differ.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prune_heads.reporting.sweep_results import FINGERPRINTS, FOUND, varying

OF_A_PANEL = ("task", "model", "split")
_SAME_IN_A_PANEL = (*OF_A_PANEL, "metric", "n_examples", *FINGERPRINTS[:2])
_ALONG_A_LINE = ("trial", "seed", "fraction", "n_heads", "n_pruned", "headline")
_OF_DATA = ("data_dir", "train_file", "validation_file", "max_examples")
"""Options that a panel implies: they name its lines only where they vary within one."""

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Panel:
    """What was measured of one task, model and split."""

    title: str
    metric: str
    n_examples: int
    lines: Mapping[str, Mapping[float, tuple[float, ...]]]
    """Name -> heads pruned (percent) -> the metric by each seed."""
    rows: Rows = field(compare=False)


def panels(rows: Rows) -> list[Panel]:
    """The panels of the headline metrics, in the order of their names.

    Args:
        rows: As `result_rows` gives them.
    """
    rows = [row for row in rows if row["headline"]]
    groups = _grouped(rows, _SAME_IN_A_PANEL)
    options = [name for name in rows[0] if name not in (*OF_A_PANEL, *_ALONG_A_LINE, *FOUND, *FINGERPRINTS)]
    within = {name for group in groups for name in varying(group, options)}
    by = [name for name in varying(rows, options) if name not in _OF_DATA or name in within]
    names = _names_of_lines(rows, by)
    found = []
    for title, group in zip(_titles(groups, options), groups, strict=True):
        lines: dict[str, Mapping[float, tuple[float, ...]]] = {}
        for line in _grouped(group, (*options, *FINGERPRINTS)):
            name = names[_values(line[0], by)]
            if name in lines:  # all that was asked for is the same: the examples to score on have changed
                name += f" (scored on {line[0]['scored_fingerprint']})"
            lines[name] = _points(line)
        metric, n_examples = group[0]["metric"].replace("_", " "), group[0]["n_examples"]
        found.append(Panel(title, metric, n_examples, {name: lines[name] for name in sorted(lines)}, group))
    return sorted(found, key=lambda panel: (*_texts(panel.rows[0], OF_A_PANEL), panel.title))


def seeds_sentence(rows: Rows) -> str:
    """What a point and its band are, and of which lines, where there are several seeds; else nothing."""
    lines = [
        (name, max(map(len, points.values())))
        for panel in panels(rows)
        for name, points in panel.lines.items()
    ]
    several = dict.fromkeys(name for name, n in lines if n > 1)
    if not several:
        return ""
    numbers = sorted({n for _, n in lines if n > 1})
    n = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    whose = f", of {', '.join(several)}" if len(several) < len({name for name, _ in lines}) else ""
    return f"mean over {n} seeds, from the least to the most{whose}"


def _points(rows: Rows) -> dict[float, tuple[float, ...]]:
    """Two ways to ask for as many heads are one measurement."""
    points: dict[float, set[tuple[Any, float]]] = {}
    for row in rows:
        points.setdefault(100 * row["n_pruned"] / row["n_heads"], set()).add((row.get("seed"), row["pruned"]))
    return {at: tuple(sorted(value for _, value in points[at])) for at in sorted(points)}


def _titles(groups: Sequence[Rows], options: Sequence[str]) -> list[str]:
    """A title for each panel that no other has."""
    first = [group[0] for group in groups]
    shown = varying(first, OF_A_PANEL) or ["task"]
    titles = [" / ".join(_texts(row, shown)) for row in first]
    for name in (*options, "metric", "n_examples", *FINGERPRINTS[:2]):
        used, values = Counter(titles), [_values(row, [name]) for row in first]
        for title in [title for title in used if used[title] > 1]:
            same = [i for i, each in enumerate(titles) if each == title]
            if len({values[i] for i in same}) > 1 and not any(varying(groups[i], [name]) for i in same):
                for i in same:
                    titles[i] += f" / {name} {first[i][name]}"
    return titles


def _names_of_lines(rows: Rows, by: Sequence[str]) -> dict[tuple[Any, ...], str]:
    """What lines are called; an option that its criterion does not have is left out.

    Texts speak for themselves; numbers come with the option that they are of, and so does all where names would meet.
    """
    there = {_values(row, by) for row in rows}

    def name(values: tuple[Any, ...], *, is_full: bool) -> str:
        given = [(key, value) for key, value in zip(by, values, strict=True) if value is not None]
        return " / ".join(
            f"{key} {value}" if is_full or not isinstance(value, str) else value for key, value in given
        )

    short = {values: name(values, is_full=False) for values in there}
    return (
        short
        if len(set(short.values())) == len(short)
        else {values: name(values, is_full=True) for values in there}
    )


def _grouped(rows: Rows, names: Sequence[str]) -> list[Rows]:
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_values(row, names), []).append(row)
    return list(groups.values())


def _values(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in names)


def _texts(row: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in names)
