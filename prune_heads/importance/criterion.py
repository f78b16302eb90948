"""A row of the table of criteria."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from prune_heads.heads import HeadScores
from prune_heads.importance.examples import Examples


class Criterion(NamedTuple):
    """How heads are scored."""

    score: Callable[[Examples], HeadScores]
    """Not normalised; higher = more important."""
    looks_at: Literal["weights", "gradients", "answers", "nothing", "examples"]
    """Gradients, answers and examples need data; gradients have estimators, answers a metric."""
    summary: str
    name: str = ""
    """Of one's own, as records name it: without the path that led to it."""
    source: str | None = None
    """Of one's own: SHA-256 of its source, where that is known."""

    @property
    def needs_data(self) -> bool:
        """Whether heads are scored on examples."""
        return self.looks_at in ("gradients", "answers", "examples")

    @property
    def draws(self) -> bool:
        """Whether the scores may depend on the seed."""
        return self.looks_at in ("nothing", "examples")
