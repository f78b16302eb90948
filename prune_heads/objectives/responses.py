"""A number an example beside the metric, finer than whether an answer is right; higher is better.

They are here and not in the classes of objectives, whose code is part of the key of what is stored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.statistics.metrics import sentence_bleu

if TYPE_CHECKING:
    from prune_heads.objectives.base import Objective


@dataclass(frozen=True)
class Response:
    """What an objective says of each example."""

    name: str  # for people
    unit: str
    each: Callable[["Objective", NDArray[Any], NDArray[Any]], NDArray[np.float64] | None]
    """(objective, what is kept, references) -> `(n_examples,)`; None where it is not defined."""

    @property
    def words(self) -> dict[str, str]:
        """For records."""
        return {"name": self.name, "unit": self.unit}


LIKELIHOOD = Response("log-likelihood of the right answer", "nats", lambda of, *about: of.log_likelihood(*about))
RESPONSES: Mapping[str, Response] = {
    "likelihood": LIKELIHOOD,
    "squared-error": Response(
        "minus the squared error",
        "squared points of the score",
        lambda of, kept, true: -np.square(of.predictions(kept) - true.astype(np.float64)),
    ),
    "sentence-bleu": Response("sentence BLEU", "of 1", lambda of, kept, true: sentence_bleu(of.predictions(kept))),
}
"""`response` of a row of `OBJECTIVES` -> what it is."""
