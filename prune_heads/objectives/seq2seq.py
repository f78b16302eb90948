"""The tokens of a target, given its source."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from prune_heads.checkpoints import Checkpoint
from prune_heads.checkpoints.head import LANGUAGE_MODELS
from prune_heads.objectives.base import Asked, Examples
from prune_heads.objectives.batches import IGNORED, Batches, Ragged
from prune_heads.objectives.likelihood import Likelihood, Shift, shift_of
from prune_heads.objectives.texts import tokenize


@dataclass(frozen=True)
class Seq2Seq(Likelihood):
    """The likelihood of targets by an encoder-decoder."""

    shift: Shift | None = None
    """Makes the decoder's inputs of targets."""

    readers = MappingProxyType({})
    name = "seq2seq"
    head = LANGUAGE_MODELS["seq2seq"]
    of_checkpoint = "seq2seq"

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: Asked, **options: Any) -> Self:
        """See `Objective`."""
        return super().bind(checkpoint, spec, shift=shift_of(checkpoint.model), **options)

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a pair, source and target cut each; see `Objective`."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        wanted, also_cut = tokenize(split, tokenizer, n_max=n_max, of={"text_target": "text_pair"})
        ids = wanted["input_ids"]
        targets = Ragged(ids.values, ids.offsets, IGNORED)
        decoded = {"labels": targets} if self.shift is None else {"decoder_input_ids": self.shift(targets)}
        return self.made(inputs | decoded, targets, batch_size, cut | also_cut)
