"""How lines look: a criterion has one colour, dash and marker in every figure, whatever it is drawn beside.

They are in `looks.toml`. Most colours are those of Okabe and Ito (2008), which the colour-blind can tell apart; dash
and marker do so in print.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from itertools import cycle
from typing import NamedTuple

from prune_heads.options.scoring import CRITERIA

Dash = str | tuple[int, tuple[float, ...]]  # as matplotlib takes it


class Look(NamedTuple):
    """Of a line."""

    colour: str | tuple[float, ...]
    dash: Dash = "-"
    marker: str = "o"
    is_open: bool = False  # whether its markers are rings


_TABLE = tomllib.loads((resources.files("prune_heads.reporting") / "looks.toml").read_text("utf-8"))


def _look(colour: str, marker: str, dash: Iterable[float] = ()) -> Look:
    return Look(colour, (0, found) if (found := tuple(dash)) else "-", marker)


def _further() -> dict[str, Look]:
    """Criteria that the table does not name, in the order of theirs: dashes and markers by turns."""
    more, named = _TABLE["further"], {"gradient", *_TABLE["lines"]}
    looks = zip(more["colours"], cycle(more["markers"]), cycle(more["dashes"]), strict=False)
    return {name: _look(*look) for name, look in zip((n for n in CRITERIA if n not in named), looks, strict=False)}


LOOKS: Mapping[str, Look] = {name: _look(**row) for name, row in _TABLE["lines"].items()} | _further()
"""Estimator, or criterion where that has none -> the look of its line."""

_BY_WORD = {**LOOKS, "gradient": LOOKS["example"]}  # where the estimator is not said
_RESCORED = "re-scored"
_OTHERS = tuple(_look(**row) for row in _TABLE["others"])
ATTENTION_LOOKS: Mapping[str, Look] = {letter: _look(**row) for letter, row in _TABLE["attention"].items()}
"""Letter of a kind of blocks -> the look of its line, or of its heads."""


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """Name of a line, e.g. `gradient (example)` -> its look: that of its criterion; of what is unknown, any other.

    Of several lines of one criterion, e.g. in a sweep of something else, the first one has its look.
    """
    found: dict[str, Look] = {}
    for name in names:
        known = next((look for word, look in _BY_WORD.items() if re.search(rf"(?<![\w-]){word}(?![\w-])", name)), None)
        look = known and known._replace(is_open=_RESCORED in name)
        if look is None or look in found.values():
            look = next((other for other in _OTHERS if other not in found.values()), _OTHERS[len(found) % len(_OTHERS)])
        found[name] = look
    return found


def shaded(look: Look, n: int) -> list[Look]:
    """`n` looks in shades of one, dark to light, each with a dash and a marker; of two, its own first."""
    from matplotlib.colors import to_rgb

    own, known = to_rgb(look.colour), tuple(LOOKS.values())
    darkest, lightest = (-0.5 if n > 2 else 0.0), 0.55  # shares of black and of white
    shares = [darkest + (lightest - darkest) * i / max(n - 1, 1) for i in range(n)]
    colours = [tuple(part * (1 - abs(share)) + max(share, 0.0) for part in own) for share in shares]
    return [known[i % len(known)]._replace(colour=colour) for i, colour in enumerate(colours)]
