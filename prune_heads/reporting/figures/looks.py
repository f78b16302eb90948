"""How lines look: a criterion has one colour, dash and marker in every figure, whatever it is drawn beside.

Most colours are those of Okabe and Ito (2008), which the colour-blind can tell apart; dash and marker do so in print.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from prune_heads.options.scoring import CRITERIA

Dash = str | tuple[int, tuple[float, ...]]  # as matplotlib takes it


class Look(NamedTuple):
    """Of a line."""

    colour: str | tuple[float, ...]
    dash: Dash = "-"
    marker: str = "o"
    is_open: bool = False  # whether its markers are rings


_FIRST: Mapping[str, Look] = {
    "example": Look("#0072b2"),
    "ablation": Look("#e69f00", (0, (5, 2)), "s"),
    "magnitude": Look("#009e73", (0, (2, 1.5)), "^"),
    "random": Look("#737373", (0, (6, 2, 1, 2)), "D"),
    "token": Look("#d55e00", (0, (8, 2)), "v"),
    "batch": Look("#56b4e9", (0, (4, 1, 1, 1)), "P"),
    "fisher": Look("#cc79a7", (0, (3, 1)), "X"),
    "signed": Look("#000000", (0, (1, 1)), "<"),
    "running sum": Look("#882255", (0, (6, 1, 1, 1, 1, 1)), ">"),
}
_COLOURS = (
    *("#f20df2", "#0d0df2", "#f20d33", "#7a3df5", "#3ba008", "#2d48d2", "#463d2a", "#f57a3d"),
    *("#f53d7a", "#ab0bcb", "#6d08a0", "#8a6bc7", "#b13d25", "#06066b", "#db57db", "#6b6b06"),
    *("#cb0b6b", "#0da6f2", "#3d7af5", "#3f5469", "#1f3051", "#508650", "#25b13d", "#d22db7"),
)
"""Of further criteria, in the order of their table: each far from all before it and from `_OTHERS`."""
_DASHES: tuple[Dash, ...] = ((0, (7, 1, 3, 1)), (0, (3, 3)), (0, (9, 3, 2, 3)), (0, (1, 2)), (0, (12, 2)))
_MARKERS = ("h", "p", "d", "8", "*", "H", "X", "P")
_FURTHER = [name for name in CRITERIA if name not in ("gradient", *_FIRST)]

LOOKS: Mapping[str, Look] = {
    **_FIRST,
    **{
        name: Look(_COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(_FURTHER)
    },
}
"""Estimator, or criterion where that has none -> the look of its line."""

_BY_WORD = {**LOOKS, "gradient": LOOKS["example"]}  # where the estimator is not said
_RESCORED = "re-scored"
_OTHERS = (
    Look("#332288", "-", "h"),
    Look("#44aa99", (0, (5, 2)), "p"),
    Look("#aa4499", (0, (2, 1.5)), "d"),
    Look("#999933", (0, (6, 2, 1, 2)), "8"),
    Look("#117733", (0, (1, 1)), "*"),
    Look("#661100", (0, (8, 2)), "H"),
)

ATTENTION_LOOKS: Mapping[str, Look] = {
    "E": Look("#31688e"),
    "A": Look("#d1495b", (0, (5, 2)), "s"),
    "D": Look("#e0a030", (0, (2, 1.5)), "^"),
}
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
