"""How many trials a file describes, without a list of them.

Trials are made of turns, one of each axis. Of the turns of an axis that the rules of a sweep cannot tell apart one is
looked at, and weighs as many as there are.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prune_heads.canonical import canonical

Turn = Mapping[str, Any]
"""Option -> value: what one place of an axis sets."""


def signature(turn: Turn) -> str:
    """What decides whether options contradict each other: a number does so only by being there."""
    return canonical({key: 0 if _is_number(value) else value for key, value in turn.items()})


def matches(rule: Turn, values: Turn) -> bool:
    """Whether values are among those that a rule names, a list standing for each of its values."""
    return all(
        values[key] in wanted if isinstance(wanted, list) else values[key] == wanted for key, wanted in rule.items()
    )


def count(
    axes: Sequence[Sequence[Turn]],
    base: Turn,
    left_out: Sequence[Turn],
    draws: Callable[[Turn], bool],
    agrees: Callable[[Turn, Turn], bool] = lambda values, row: True,
) -> tuple[int, int]:
    """How many trials of the product of the axes are run, and how many are not since a seed alone tells them apart.

    Those left out are in neither number.

    Args:
        axes: The turns of each.
        base: Values of the options that do not vary.
        left_out: Rules, of which each leaves out what matches it.
        draws: Whether a trial of these values depends on its seed.
        agrees: Whether values do not contradict each other; the second are those of them that vary.
    """
    kinds = [_kinds(axis, left_out) for axis in axes if not _is_of_seeds(axis)]
    seeds = _kinds(next((axis for axis in axes if _is_of_seeds(axis)), [{}]), left_out)
    found = n_undrawn = 0
    for chosen in itertools.product(*kinds):
        row = {key: value for turn, _ in chosen for key, value in turn.items()}
        values = {**base, **row}
        n_seeds = sum(
            weight for turn, weight in seeds if not any(matches(rule, {**values, **turn}) for rule in left_out)
        )
        if n_seeds and agrees(values, row):
            n = math.prod(weight for _, weight in chosen)
            n_run = n_seeds if draws(values) else 1
            found += n * n_run
            n_undrawn += n * (n_seeds - n_run)
    return found, n_undrawn


def _kinds(axis: Sequence[Turn], rules: Sequence[Turn]) -> list[tuple[Turn, int]]:
    """One turn of each kind, and how many there are."""
    kinds: dict[tuple[Any, ...], tuple[Turn, int]] = {}
    for turn in axis:
        hits = (matches({key: rule[key] for key in rule if key in turn}, turn) for rule in rules)
        kind = (signature(turn), *hits)
        first, n = kinds.get(kind, (turn, 0))
        kinds[kind] = first, n + 1
    return list(kinds.values())


def _is_of_seeds(axis: Sequence[Turn]) -> bool:
    return bool(axis) and list(axis[0]) == ["seed"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
