"""Language models: the log-likelihood of next, hidden or target tokens; and translations, compared by BLEU."""
# ruff: noqa: D102 -- `Objective` says what each method gives

import hashlib
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig

from prune_heads.checkpoints import Checkpoint, Head, language_model_head
from prune_heads.checkpoints.head import LANGUAGE_MODELS, how_it_writes, translate, vocabulary_size
from prune_heads.errors import UnsupportedModelError
from prune_heads.gating import logits_of
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import IGNORED, Batch, Batches, Ragged
from prune_heads.objectives.rows import Split, read_text
from prune_heads.objectives.texts import tokenize
from prune_heads.statistics import N_COUNTS

_SHARE = 0.15
_MASK, _RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stay as they are


@dataclass(frozen=True)
class Likelihood(Objective):
    """Minus the sum of the log-likelihoods (nats) of an example's targets; kept is the sum.

    References are the numbers of predicted tokens.
    """

    n_choices: int = 0  # tokens between which the model chooses
    has_cache: bool = False  # whether the model's forward may keep keys and values

    compared: ClassVar[int | slice] = 0
    likely: ClassVar[int | None] = 0
    readers = MappingProxyType({".txt": read_text})
    below_chance = ("finding all tokens equally likely", "check that the model is trained, and the tokenizer its own")

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        """Of a causal or masked model, the one that it was trained with."""
        return language_model_head(config, name, pairs=cls.head is LANGUAGE_MODELS["seq2seq"])

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        return checkpoint.objective is not None and cls.head is LANGUAGE_MODELS[checkpoint.objective]

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        has_cache = "use_cache" in inspect.signature(checkpoint.model.forward).parameters
        return cls(spec.metric, n_choices=vocabulary_size(checkpoint.model), has_cache=has_cache, **options)

    def made(self, inputs: dict[str, Ragged], targets: Ragged, batch_size: int, cut: NDArray[np.bool_]) -> Batches:
        """Batches of inputs and what is to be predicted."""
        counts = np.asarray([np.count_nonzero(row != IGNORED) for row in targets])
        # A cache of keys and values is of no use, and would grow when the engine runs a layer again.
        options = {"use_cache": False} if self.has_cache else {}
        return Batches(self, inputs, targets, counts, batch_size, options, n_cut=int(cut.sum()))

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """Raises `UnsupportedModelError` if the logits are not of the positions of the targets."""
        logits, targets = logits_of(outputs).float(), batch.targets
        if logits.shape[:-1] != targets.shape:
            got = f"{tuple(logits.shape)} for {tuple(targets.shape)} tokens"
            raise UnsupportedModelError(f"a language model must give logits for each token; this one gives {got}")
        each = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
        return each.view_as(targets).sum(dim=1)

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        return -self.losses(outputs, batch)[:, None]

    def chance(self, references: NDArray[Any]) -> float | None:
        """Of finding all tokens of the vocabulary equally likely."""
        return -math.log(self.n_choices)


class CausalLM(Likelihood):
    """Each token of a text after the first, from those before it."""

    name = "causal-lm"
    head = LANGUAGE_MODELS["causal"]

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """The last token is no input, the first no target."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        targets = Ragged.of([row[1:] for row in inputs["input_ids"]], IGNORED)
        inputs = {name: Ragged.of([row[:-1] for row in rows], rows.fill) for name, rows in inputs.items()}
        return self.made(inputs, targets, batch_size, cut)


class MaskedLM(Likelihood):
    """Tokens of a text that are hidden: those of BERT's own training, see `masked`."""

    name = "masked-lm"
    head = LANGUAGE_MODELS["masked"]

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        ids = inputs["input_ids"]
        rows = [masked(row, tokenizer) for row in ids]
        inputs["input_ids"] = Ragged.of([given for given, _ in rows], ids.fill)
        return self.made(inputs, Ragged.of([targets for _, targets in rows], IGNORED), batch_size, cut)


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
class Seq2Seq(Likelihood):
    """The likelihood of targets by an encoder-decoder."""

    shift: Any = None  # the model's method that makes the decoder's inputs of targets; None where its forward does so
    pad: int = 0  # what stands in the padding of these

    readers = MappingProxyType({})
    name = "seq2seq"
    head = LANGUAGE_MODELS["seq2seq"]

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        pad = getattr(checkpoint.model.config, "pad_token_id", None) or 0
        shift = getattr(checkpoint.model, "prepare_decoder_input_ids_from_labels", None)
        return super().bind(checkpoint, spec, shift=shift, pad=pad, **options)

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a pair, source and target cut each."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        wanted, also_cut = tokenize(split, tokenizer, n_max=n_max, of={"text_target": "text_pair"})
        targets = replace(wanted["input_ids"], fill=IGNORED)
        decoded = {"labels": targets} if self.shift is None else {"decoder_input_ids": self.shifted(targets)}
        return self.made(inputs | decoded, targets, batch_size, cut | also_cut)

    @torch.no_grad()
    def shifted(self, targets: Ragged) -> Ragged:
        """Targets one place to the right, as the model itself shifts them in training: what the decoder is given."""
        device = self.shift.__self__.device
        rows = (torch.from_numpy(row.astype(np.int64))[None].to(device) for row in targets)
        return Ragged.of([self.shift(row)[0].cpu().numpy() for row in rows], self.pad)


@dataclass(frozen=True)
class Translation(Seq2Seq):
    """Kept are the counts of n-grams that BLEU is made of; the loss is that of training, minus the log-likelihood."""

    beams: int = 1  # hypotheses that are kept at every token; 1 is greedy
    n_max: int = 0  # tokens of a translation, at most
    tokenizer: Any = None

    compared = slice(None)
    likely = None
    name = "translation"
    generates = True

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """As `Seq2Seq`, with the targets as texts beside: BLEU compares words, not tokens."""
        made = super().batches(split, tokenizer, batch_size=batch_size, n_max=n_max)
        writes = replace(self, n_max=n_max, tokenizer=tokenizer)
        return replace(made, objective=writes, beside={"texts": split.columns["text_pair"]})

    def kept(self, model: nn.Module, batch: Batch) -> Tensor:
        """`(batch, N_COUNTS)`: the counts of what the model writes."""
        texts = translate(model, self.tokenizer, batch.inputs, beams=self.beams, n_max=self.n_max)
        return torch.from_numpy(bleu_counts(texts, batch.beside["texts"]))

    def chance(self, references: NDArray[Any]) -> None:
        return None

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """How it writes, the checkpoint's own defaults among it."""
        return {"beams": self.beams, "n_max": self.n_max, "defaults": how_it_writes(model)}

    def about(self, n_max: int) -> dict[str, Any]:
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
