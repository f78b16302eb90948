"""A number an example beside the metric, finer than whether an answer is right; higher is better.

They are here and not in the classes of objectives, whose code is part of the key of what is stored.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from prune_heads.statistics.metrics import Array, sentence_bleu


class Response(NamedTuple):
    """What an objective says of each example."""

    name: str  # for people
    unit: str
    each: Callable[[Any, Array, Array], Array | None]
    """(objective, what is kept, references) -> `(n_examples,)`; None where it is not defined."""


LIKELIHOOD = Response("log-likelihood of the right answer", "nats", lambda of, *about: of.log_likelihood(*about))
RESPONSES = {
    "likelihood": LIKELIHOOD,
    "squared-error": Response(
        *("minus the squared error", "squared points of the score"),
        lambda of, kept, scores: -np.square(of.predictions(kept) - scores.astype(np.float64)),
    ),
    "sentence-bleu": Response("sentence BLEU", "of 1", lambda of, kept, _: sentence_bleu(of.predictions(kept))),
}
"""`response` of a row of `OBJECTIVES` -> what it is."""
