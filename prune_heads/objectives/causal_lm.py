"""Each token of a text after the first, from those before it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from prune_heads.checkpoints.head import LANGUAGE_MODELS
from prune_heads.objectives.base import Examples
from prune_heads.objectives.batches import IGNORED, Batches, Ragged
from prune_heads.objectives.likelihood import Likelihood
from prune_heads.objectives.texts import tokenize


@dataclass(frozen=True)
class CausalLM(Likelihood):
    """The likelihood of texts by a causal language model."""

    name = "causal-lm"
    head = LANGUAGE_MODELS["causal"]
    of_checkpoint = "causal"

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """The last token is no input, the first no target; see `Objective`."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        targets = _without(inputs["input_ids"], 0, IGNORED)
        inputs = {name: _without(field, -1, field.fill) for name, field in inputs.items()}
        return self.made(inputs, targets, batch_size, cut)


def _without(field: Ragged, place: int, fill: int) -> Ragged:
    """Each row without its first (0) or last (-1) position, if it has one."""
    sizes = field.sizes
    ends = field.offsets[:-1] if place == 0 else field.offsets[1:] - 1
    values = np.delete(field.values, ends[sizes > 0])
    offsets = np.concatenate([[0], np.cumsum(np.maximum(sizes - 1, 0))]).astype(np.int64)
    return Ragged(values, offsets, fill)
