"""Encoder-decoders: how likely a target is given its source, and what is written for it, compared by BLEU."""
# ruff: noqa: D102 -- `Objective` says what each method gives

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.checkpoints import Checkpoint
from prune_heads.checkpoints.head import LANGUAGE_MODELS, how_it_writes, translate
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.base import Kept
from prune_heads.objectives.batches import IGNORED, Batch, Batches, Ragged
from prune_heads.objectives.likelihood import Likelihood
from prune_heads.objectives.rows import Split
from prune_heads.objectives.texts import tokenize
from prune_heads.statistics import N_COUNTS

Shift = Callable[[Ragged], Ragged]
"""Targets -> what the decoder is given for them."""


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
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        return super().bind(checkpoint, spec, shift=shift_of(checkpoint.model), **options)

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a pair, source and target cut each."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        wanted, also_cut = tokenize(split, tokenizer, n_max=n_max, of={"text_target": "text_pair"})
        targets = replace(wanted["input_ids"], fill=IGNORED)
        decoded = {"labels": targets} if self.shift is None else {"decoder_input_ids": self.shift(targets)}
        return self.made(inputs | decoded, targets, batch_size, cut | also_cut)


def shift_of(model: nn.Module) -> Shift | None:
    """The targets one place to the right, as the model itself shifts them in training; None where it does so inside."""
    shift: Any = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if shift is None:
        return None

    @torch.no_grad()
    def shifted(targets: Ragged) -> Ragged:
        device = next(model.parameters()).device
        rows = [torch.from_numpy(targets.row(i).astype(np.int64)).to(device) for i in range(len(targets.sizes))]
        made = [shift(row[None])[0].cpu().numpy() for row in rows]
        return Ragged.of(made, getattr(model.config, "pad_token_id", None) or 0)

    return shifted


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

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
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

    def chance(self, references: NDArray[Any]) -> None:
        """Nobody writes by chance."""
        return None

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """How it writes, the checkpoint's own defaults among it."""
        return {"beams": self.beams, "n_max": self.n_max, "defaults": how_it_writes(model)}

    def about(self, n_max: int) -> dict[str, Any]:
        """How it writes and is compared."""
        return {"translation": {"signature": bleu_signature(), "beams": self.beams, "max_tokens": n_max}}


def bleu_counts(translations: Sequence[str], references: Sequence[str]) -> NDArray[np.float32]:
    """What BLEU needs to know of each translation, `(n_examples, N_COUNTS)`, with sacrebleu's own tokenizer 13a.

    BLEU of any set of translations is a function of the sums of these counts, so a bootstrap needs no texts.
    sacrebleu: Post, 2018, https://arxiv.org/abs/1804.08771
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)  # as it wants to be asked for single sentences; the counts are the same
    counts = np.empty((len(translations), N_COUNTS), dtype=np.float32)
    for row, translation, reference in zip(counts, translations, references, strict=True):
        score = metric.sentence_score(translation, [reference])
        row[:] = (*score.counts, *score.totals, score.sys_len, score.ref_len)
    return counts


def bleu_signature() -> str:
    """What decides a BLEU beside the texts, as sacrebleu writes it: tokenizer, smoothing, version."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    metric.corpus_score(["a"], [["a"]])  # it says how many references there are once it has seen some
    return str(metric.get_signature())
