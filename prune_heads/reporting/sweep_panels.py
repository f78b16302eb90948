"""The results of a sweep in order: a panel a task, model and split, in it a line a criterion and whatever else varies.

Figure and table show the same panels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prune_heads.reporting.sweep_results import FOUND, varying

_OF_A_PANEL = ("task", "model", "split")
_ON_AN_AXIS = ("trial", "seed", "fraction", "n_heads", "n_pruned", "heads", "data_dir", "headline")


@dataclass(frozen=True)
class Panel:
    """What was measured of one task, model and split."""

    title: str
    metric: str
    n_examples: int
    lines: Mapping[str, Mapping[float, tuple[float, ...]]]
    """Name -> heads pruned (percent) -> the metric by each seed, or whatever else varies along no axis shown."""


def panels(rows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The panels of the headline metrics, in the order of their names.

    Args:
        rows: As `result_rows` gives them.
    """
    rows = [row for row in rows if row["headline"]]
    shown = varying(rows, _OF_A_PANEL) or ["task"]
    by = varying(rows, [key for key in rows[0] if key not in (*_OF_A_PANEL, *_ON_AN_AXIS, *FOUND)])
    lines = sorted({_name(row, by) for row in rows})
    found = []
    for key in sorted({_panel(row) for row in rows}):
        own = [row for row in rows if _panel(row) == key]
        about = dict(zip(_OF_A_PANEL, key, strict=True))
        points = {name: _points([row for row in own if _name(row, by) == name]) for name in lines}
        found.append(
            Panel(
                " / ".join(about[name] for name in shown),
                own[0]["metric"].replace("_", " "),
                own[0]["n_examples"],
                {name: values for name, values in points.items() if values},
            )
        )
    return found


def seeds_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a point and its band are, where there are several seeds; else nothing."""
    n = len({row["seed"] for row in rows if "seed" in row})
    return f"mean over {n} seeds, from the least to the most" if n > 1 else ""


def _points(rows: Sequence[Mapping[str, Any]]) -> dict[float, tuple[float, ...]]:
    points: dict[float, list[float]] = {}
    for row in rows:
        points.setdefault(100 * row["n_pruned"] / row["n_heads"], []).append(row["pruned"])
    return {at: tuple(sorted(points[at])) for at in sorted(points)}


def _panel(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in _OF_A_PANEL)


def _name(row: Mapping[str, Any], by: Sequence[str]) -> str:
    """What a line is called; an option that its criterion does not have is left out."""
    return " / ".join(str(row[key]) for key in by if row[key] is not None)
