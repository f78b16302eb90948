"""Language models whose `logits` are the log-likelihoods of the examples.

So code for classifiers (masks, derivatives, the store, tests) works for language models as it is.
"""

import inspect
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from prune_heads.errors import CheckpointError, UnsupportedModelError

Objective = Literal["causal", "masked", "seq2seq"]
"""What a language model was trained to predict: the next token, masked tokens, or a target given a source."""

IGNORED = -100
"""Stands in targets where nothing is predicted, as everywhere in transformers."""

_CAUSAL = frozenset(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
_MASKED = frozenset(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())
_SEQ2SEQ = frozenset(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values())


class Likelihoods(NamedTuple):
    """What a language model gives when it is told what to predict."""

    logits: Tensor
    """`(batch, 1)`: the sum of the log-likelihoods (nats) of each example's targets, in float32."""


class LanguageModel:
    """Comes before the class of a transformers model that `reading_likelihoods` has changed."""

    objective: Objective
    _extra: dict[str, bool]

    def forward(self, *args: Any, targets: Tensor | None = None, **inputs: Any) -> Any:
        """The model's own output, or with targets their log-likelihoods.

        Args:
            args: The model's own, by position.
            targets: `(batch, positions)`: what the logits at each position are to predict, IGNORED for nothing. An
                encoder-decoder makes its decoder's inputs from them.
            inputs: The model's own, by name.

        Raises:
            UnsupportedModelError: If the logits are not of the positions of the targets.
        """
        own: Any = super()
        if targets is None:
            return own.forward(*args, **inputs)
        if self.objective == "seq2seq":
            inputs |= _decoder_inputs(self, targets)
        logits = own.forward(*args, **inputs, **self._extra).logits.float()
        if logits.shape[:-1] != targets.shape:
            raise UnsupportedModelError(
                f"a language model must give logits for each token; {type(self).__name__} gives {tuple(logits.shape)} "
                f"for {tuple(targets.shape)} tokens, so what it predicts where is not known"
            )
        losses = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        return Likelihoods(-losses.unflatten(0, targets.shape).sum(dim=1, keepdim=True))

    @property
    def vocabulary_size(self) -> int:
        """Tokens between which it chooses."""
        model: Any = self
        head = model.get_output_embeddings() or model.get_input_embeddings()
        return int(head.weight.shape[0])


def reading_likelihoods(model: PreTrainedModel, objective: Objective) -> PreTrainedModel:
    """The same object, which now takes `targets`; names of modules and weights, and what it saves, stay as they are.

    Raises:
        CheckpointError: If the model is to predict the next token and sees it, or does not say how targets begin.
    """
    own: Any = type(model)
    model.__class__ = _reading(own, objective)
    if objective == "causal":
        _check_causal(model)
    if objective == "seq2seq":
        _check_start(model)
    return model


def objective_of(config: PreTrainedConfig) -> Objective | None:
    """What the class that a configuration names was trained to predict; None for a class of no language model."""
    name = (config.architectures or [""])[0]
    if name in _SEQ2SEQ:  # BART's is among the masked ones too
        return "seq2seq"
    if name in _CAUSAL and name in _MASKED:  # XLM's
        return "causal" if getattr(config, "causal", False) else "masked"
    return "causal" if name in _CAUSAL else "masked" if name in _MASKED else None


@cache
def _reading(own: type[PreTrainedModel], objective: Objective) -> type[PreTrainedModel]:
    """The class keeps its name, since a saved configuration holds it."""
    # A cache of keys and values is not needed, and would grow when the engine runs a layer again.
    extra = {"use_cache": False} if "use_cache" in inspect.signature(own.forward).parameters else {}
    return type(
        own.__name__,
        (LanguageModel, own),
        {"objective": objective, "_extra": extra, "__module__": own.__module__},
    )


def _decoder_inputs(model: Any, targets: Tensor) -> dict[str, Tensor]:
    """The targets one place to the right, as the model itself shifts them in training."""
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    return {"labels": targets} if shift is None else {"decoder_input_ids": shift(targets)}


def _check_start(model: Any) -> None:
    """Targets begin with a token that the configuration names."""
    targets = torch.ones(1, 2, dtype=torch.long, device=model.device)
    start = getattr(model.config, "decoder_start_token_id", None)
    try:
        ids = _decoder_inputs(model, targets).get("decoder_input_ids", targets)
        named = bool(((ids >= 0) & (ids < model.vocabulary_size)).all())
    except (TypeError, ValueError):
        named = False
    if not named:
        raise CheckpointError(
            "an encoder-decoder must name the token that targets begin with, one of its vocabulary; "
            f"decoder_start_token_id is {start}. Set it in config.json"
        )


@torch.no_grad()
def _check_causal(model: PreTrainedModel) -> None:
    """Another last token must leave the logits before it as they are."""
    device = model.device
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 2]], device=device) % model.vocabulary_size
    logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
    apart = float((logits[0] - logits[1]).abs().max())
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    if apart > tolerance * max(1.0, float(logits.abs().max())):
        raise CheckpointError(
            f"a causal language model must not see the tokens that it predicts; this {type(model).__name__} does: its "
            f"logits change by {apart:.2g} with a later token. Set is_decoder in its config.json if it was trained as "
            "a decoder"
        )
