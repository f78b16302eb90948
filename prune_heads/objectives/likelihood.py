"""What the three kinds of language models share: the log-likelihood of the tokens that an example predicts."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig

from prune_heads.checkpoints import Checkpoint, Head, language_model_head
from prune_heads.checkpoints.head import vocabulary_size
from prune_heads.errors import UnsupportedModelError
from prune_heads.modes import logits_of
from prune_heads.objectives.base import Asked, Kept, Objective
from prune_heads.objectives.batches import IGNORED, Batch, Batches, Ragged
from prune_heads.objectives.formats import PLAIN_TEXT, read_text


@dataclass(frozen=True)
class Likelihood(Objective):
    """Minus the sum of the log-likelihoods (nats) of an example's targets; kept is the sum.

    References are the numbers of predicted tokens.
    """

    n_choices: int = 0
    """Tokens between which the model chooses."""
    takes: frozenset[str] = frozenset()
    """Names of the arguments of the model's forward."""

    below_chance = (
        "finding all tokens equally likely",
        "check that the tokenizer is the model's own and that the model is trained",
    )

    readers = MappingProxyType({PLAIN_TEXT: read_text})
    of_checkpoint: ClassVar[str]
    """`Checkpoint.objective` of its models."""

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        """See `Objective`; of a causal or masked model, the one that it was trained with."""
        return language_model_head(config, name, pairs=cls.of_checkpoint == "seq2seq")

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        """See `Objective`."""
        return checkpoint.objective == cls.of_checkpoint

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: Asked, **options: Any) -> Self:
        """See `Objective`."""
        takes = frozenset(inspect.signature(checkpoint.model.forward).parameters)
        return cls(spec.metric, n_choices=vocabulary_size(checkpoint.model), takes=takes, **options)

    def made(self, inputs: dict[str, Ragged], targets: Ragged, batch_size: int, cut: NDArray[np.bool_]) -> Batches:
        """Batches of inputs and what is to be predicted."""
        of_row = np.repeat(np.arange(len(targets.sizes)), targets.sizes)
        counts = np.bincount(of_row, targets.values != IGNORED, minlength=len(targets.sizes)).astype(np.int64)
        # A cache of keys and values is of no use, and would grow when the engine runs a layer again.
        options = {"use_cache": False} if "use_cache" in self.takes else {}
        return Batches(self, inputs, targets, counts, batch_size, options, n_cut=int(cut.sum()))

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """See `Objective`.

        Raises:
            UnsupportedModelError: If the logits are not of the positions of the targets.
        """
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
        """See `Objective`."""
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


Shift = Callable[[Ragged], Ragged]
"""Targets -> what the decoder is given for them."""


def shift_of(model: nn.Module) -> Shift | None:
    """The targets one place to the right, as the model itself shifts them in training; None where it does so inside."""
    shift: Any = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if shift is None:
        return None

    @torch.no_grad()
    def shifted(targets: Ragged) -> Ragged:
        device = next(model.parameters()).device
        rows = [
            shift(torch.from_numpy(targets.row(i).astype(np.int64))[None].to(device))[0].cpu().numpy()
            for i in range(len(targets.sizes))
        ]
        return Ragged.of(rows, getattr(model.config, "pad_token_id", None) or 0)

    return shifted
