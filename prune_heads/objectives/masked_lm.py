"""Tokens of a text that are hidden: those of BERT's own training."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.checkpoints.head import LANGUAGE_MODELS
from prune_heads.objectives.base import Examples
from prune_heads.objectives.batches import IGNORED, Batches, Ragged
from prune_heads.objectives.likelihood import Likelihood
from prune_heads.objectives.texts import tokenize

_SHARE = 0.15
_MASK, _RANDOM = 0.8, 0.1
"""Of the chosen tokens; the rest stay as they are."""


def masked(ids: NDArray[np.int32], tokenizer: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """A text as BERT is trained on it (Devlin et al., 2019, section 3.1 and appendix A.1).

    15% of the tokens that are not special are chosen, to the nearest number and at least one. Of these 80% become
    the mask token, 10% a token drawn from the vocabulary, 10% stay. The draws come from a generator that is seeded
    by the tokens themselves, so they depend on nothing else: not on the batch, the order or the other texts.

    Args:
        ids: `(tokens,)` of one text, special ones included.
        tokenizer: With a mask token.

    Returns:
        The tokens that the model is given, and what it is to predict, IGNORED elsewhere; `(tokens,)` each.
    """
    given, targets = ids.copy(), np.full_like(ids, IGNORED)
    candidates = np.flatnonzero(~np.isin(ids, tokenizer.all_special_ids))
    if len(candidates) == 0:
        return given, targets
    seed = hashlib.sha256(np.asarray(ids, dtype="<i4").tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(seed))
    chosen = rng.choice(candidates, size=max(1, round(_SHARE * len(candidates))), replace=False)
    drawn, others = rng.random(len(chosen)), rng.integers(len(tokenizer), size=len(chosen))
    targets[chosen] = ids[chosen]
    given[chosen[drawn < _MASK]] = tokenizer.mask_token_id
    swapped = (drawn >= _MASK) & (drawn < _MASK + _RANDOM)
    given[chosen[swapped]] = others[swapped]
    return given, targets


@dataclass(frozen=True)
class MaskedLM(Likelihood):
    """The likelihood of hidden tokens by a masked language model."""

    name = "masked-lm"
    head = LANGUAGE_MODELS["masked"]
    of_checkpoint = "masked"

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """See `masked` and `Objective`."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        ids = inputs["input_ids"]
        rows = [masked(ids.row(i), tokenizer) for i in range(len(ids.sizes))]
        inputs["input_ids"] = Ragged.of([given for given, _ in rows], ids.fill)
        return self.made(inputs, Ragged.of([targets for _, targets in rows], IGNORED), batch_size, cut)
