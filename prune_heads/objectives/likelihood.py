"""Language models of texts: the log-likelihood of the tokens that an example predicts, the next or hidden ones."""
# ruff: noqa: D102 -- `Objective` says what each method gives

import hashlib
import inspect
import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig

from prune_heads.checkpoints import Checkpoint, Head, language_model_head
from prune_heads.checkpoints.head import LANGUAGE_MODELS, vocabulary_size
from prune_heads.errors import UnsupportedModelError
from prune_heads.modes import logits_of
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.base import Kept, Objective
from prune_heads.objectives.batches import IGNORED, Batch, Batches, Ragged
from prune_heads.objectives.formats import read_text
from prune_heads.objectives.rows import Split
from prune_heads.objectives.texts import tokenize

_SHARE = 0.15
_MASK, _RANDOM = 0.8, 0.1
"""Of the chosen tokens; the rest stay as they are."""


@dataclass(frozen=True)
class Likelihood(Objective):
    """Minus the sum of the log-likelihoods (nats) of an example's targets; kept is the sum.

    References are the numbers of predicted tokens.
    """

    n_choices: int = 0
    """Tokens between which the model chooses."""
    has_cache: bool = False
    """Whether the model's forward may keep keys and values."""

    readers = MappingProxyType({".txt": read_text})
    below_chance = (
        "finding all tokens equally likely",
        "check that the tokenizer is the model's own and that the model is trained",
    )
    of_checkpoint: ClassVar[str]
    """`Checkpoint.objective` of its models."""

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        """Of a causal or masked model, the one that it was trained with."""
        return language_model_head(config, name, pairs=cls.of_checkpoint == "seq2seq")

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        return checkpoint.objective == cls.of_checkpoint

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        has_cache = "use_cache" in inspect.signature(checkpoint.model.forward).parameters
        return cls(spec.metric, n_choices=vocabulary_size(checkpoint.model), has_cache=has_cache, **options)

    def made(self, inputs: dict[str, Ragged], targets: Ragged, batch_size: int, cut: NDArray[np.bool_]) -> Batches:
        """Batches of inputs and what is to be predicted."""
        counts = np.asarray([np.count_nonzero(targets.row(i) != IGNORED) for i in range(len(targets.sizes))])
        # A cache of keys and values is of no use, and would grow when the engine runs a layer again.
        options = {"use_cache": False} if self.has_cache else {}
        return Batches(self, inputs, targets, counts, batch_size, options, n_cut=int(cut.sum()))

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """Raises `UnsupportedModelError` if the logits are not of the positions of the targets."""
        logits, targets = logits_of(outputs).float(), batch.targets
        if logits.shape[:-1] != targets.shape:
            raise UnsupportedModelError(
                f"a language model must give logits for each token; this one gives {tuple(logits.shape)} for "
                f"{tuple(targets.shape)} tokens, so what it predicts where is not known"
            )
        losses = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return losses.unflatten(0, targets.shape).sum(dim=1)

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        return -self.losses(outputs, batch)[:, None]

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples,)`: log-likelihoods."""
        return kept[:, 0]

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> NDArray[np.float64] | None:
        """Of all predicted tokens of the example."""
        return kept[:, 0].astype(np.float64)

    def chance(self, references: NDArray[Any]) -> float | None:
        """Of finding all tokens of the vocabulary equally likely."""
        return -math.log(self.n_choices)

    def measurable(self, batches: Batches) -> NDArray[np.int64]:
        """A text of which no token is predicted adds 0 to both sums of the metric."""
        return np.flatnonzero(batches.references)


@dataclass(frozen=True)
class CausalLM(Likelihood):
    """Each token of a text after the first, from those before it."""

    name = "causal-lm"
    head = LANGUAGE_MODELS["causal"]
    of_checkpoint = "causal"

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """The last token is no input, the first no target."""
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        targets = inputs["input_ids"].cut(slice(1, None), IGNORED)
        inputs = {name: field.cut(slice(-1), field.fill) for name, field in inputs.items()}
        return self.made(inputs, targets, batch_size, cut)


@dataclass(frozen=True)
class MaskedLM(Likelihood):
    """Tokens of a text that are hidden: those of BERT's own training, see `masked`."""

    name = "masked-lm"
    head = LANGUAGE_MODELS["masked"]
    of_checkpoint = "masked"

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        inputs, cut = tokenize(split, tokenizer, n_max=n_max, of={"text": "text"})
        ids = inputs["input_ids"]
        rows = [masked(ids.row(i), tokenizer) for i in range(len(ids.sizes))]
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
