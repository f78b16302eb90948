"""The tokens that a language model is to predict, of every example."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.checkpoints import IGNORED


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

    def batch(self, index: NDArray[np.int64], *, pad_to: int | None = None) -> Tensor:
        """`(batch, positions)`, those of the examples at these places; IGNORED in the padding."""
        return padded([self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in index], IGNORED, pad_to)


def padded(rows: list[NDArray[np.int32]], value: int, pad_to: int | None = None) -> Tensor:
    """Rows of different lengths as one tensor `(len(rows), longest or pad_to)`, filled on the right."""
    width = max([pad_to or 0, *map(len, rows)])
    filled = np.full((len(rows), width), value, dtype=np.int64)
    for row, tokens in zip(filled, rows, strict=True):
        row[: len(tokens)] = tokens
    return torch.from_numpy(filled)
