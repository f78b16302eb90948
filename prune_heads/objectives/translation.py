"""A target that an encoder-decoder writes for its source, compared with the right one by BLEU."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.checkpoints.head import how_it_writes, translate
from prune_heads.objectives.base import Examples, Kept
from prune_heads.objectives.batches import Batch, Batches
from prune_heads.objectives.bleu import bleu_counts, bleu_signature
from prune_heads.objectives.seq2seq import Seq2Seq


@dataclass(frozen=True)
class Translation(Seq2Seq):
    """Kept are the counts of n-grams that BLEU is made of; the loss is that of training, minus the log-likelihood."""

    beams: int = 1
    """Hypotheses that are kept at every token; 1 is greedy."""
    n_max: int = 0
    """Tokens of a translation, at most."""
    tokenizer: Any = None

    name = "translation"
    generates = True
    options = frozenset({"beams"})

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """As `Seq2Seq`, with the targets as texts beside: BLEU compares words, not tokens."""
        made = super().batches(split, tokenizer, batch_size=batch_size, n_max=n_max)
        writes = replace(self, n_max=n_max, tokenizer=tokenizer)
        return replace(made, objective=writes, beside={"texts": split.columns["text_pair"]})

    def kept(self, model: nn.Module, batch: Batch) -> Tensor:
        """`(batch, N_COUNTS)`: the counts of what the model writes."""
        texts = translate(model, self.tokenizer, batch.inputs, beams=self.beams, n_max=self.n_max)
        return torch.from_numpy(bleu_counts(texts, batch.beside["texts"]))

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """The counts, `(n_examples, N_COUNTS)`."""
        return kept

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> None:
        """Not of what is written."""
        return None

    def chance(self, references: NDArray[Any]) -> float | None:
        """Nobody writes by chance."""
        return None

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """How it writes, the checkpoint's own defaults among it."""
        return {"beams": self.beams, "n_max": self.n_max, "defaults": how_it_writes(model)}

    def about(self, n_max: int) -> dict[str, Any]:
        """How it writes and is compared."""
        said = {"signature": bleu_signature(), "beams": self.beams, "max_tokens": n_max}
        return {"translation": said}
