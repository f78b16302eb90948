"""The tokens that a language model is to predict, of every example."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.checkpoints import IGNORED

Side = Literal["right", "left", "none"]
"""Where padding stands; none: examples run alone, and a batch that is made nevertheless is filled on the right."""


@dataclass(frozen=True)
class Targets:
    """What the logits at each position are to predict, held as flat arrays."""

    tokens: NDArray[np.int32]
    """`(all positions,)`, example after example: a token id, or IGNORED."""
    offsets: NDArray[np.int64]
    """`(n_examples + 1,)`: example i has positions `offsets[i]:offsets[i + 1]`."""

    @property
    def n_positions(self) -> NDArray[np.int64]:
        """`(n_examples,)`: positions of each example that have logits."""
        return np.diff(self.offsets)

    def batch(self, index: NDArray[np.int64], *, pad_to: int | None = None, side: Side = "right") -> Tensor:
        """`(batch, positions)`, those of the examples at these places; IGNORED in the padding."""
        rows = [self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in index]
        return padded(rows, IGNORED, pad_to, side)


def padded(
    rows: list[NDArray[np.int32]], value: int, pad_to: int | None = None, side: Side = "right"
) -> Tensor:
    """Rows of different lengths as one tensor `(len(rows), longest or pad_to)`."""
    width = max([pad_to or 0, *map(len, rows)])
    filled = np.full((len(rows), width), value, dtype=np.int64)
    for row, tokens in zip(filled, rows, strict=True):
        start = width - len(tokens) if side == "left" else 0
        row[start : start + len(tokens)] = tokens
    return torch.from_numpy(filled)
