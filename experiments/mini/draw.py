"""Chance for the built-in suite: the same draws from the same name on every Python version."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of random choices that depends on its name alone.

    Only `random.Random.random` is used: it is the one method whose sequence Python promises to keep.
    """

    def __init__(self, name: str) -> None:
        self._next = random.Random(name).random

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._next() < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, all equally likely."""
        return options[int(self._next() * len(options))]

    def two(self, options: Sequence[T]) -> tuple[T, T]:
        """Two different positions of the options, in random order."""
        first = int(self._next() * len(options))
        second = (first + 1 + int(self._next() * (len(options) - 1))) % len(options)
        return options[first], options[second]
