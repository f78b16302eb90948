"""What a model has on top (`Head`), which one the configuration of a checkpoint names, and what it writes."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.models.auto import modeling_auto

from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.errors import CheckpointError, UnsupportedModelError

Objective = Literal["causal", "masked", "seq2seq"]  # predicts the next token, masked ones, or a target given a source

CAUSAL = frozenset(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
_MASKED = frozenset(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())
_SEQ2SEQ = frozenset(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values())


def vocabulary_size(model: Any) -> int:
    """Tokens between which a language model chooses."""
    head = model.get_output_embeddings() or model.get_input_embeddings()
    return int(head.weight.shape[0])


def objective_of(config: PreTrainedConfig | None, name: str | None = None) -> Objective | None:
    """What a class, by default the one that a configuration names, was trained to predict; None for other classes."""
    name = name or (getattr(config, "architectures", None) or [""])[0]
    if name in _SEQ2SEQ:  # BART's is among the masked ones too
        return "seq2seq"
    if name in CAUSAL and name in _MASKED:  # XLM's
        return "causal" if getattr(config, "causal", False) else "masked"
    return "causal" if name in CAUSAL else "masked" if name in _MASKED else None


def _check_start(model: Any) -> None:
    """Refuse an encoder-decoder whose targets begin with no token of its vocabulary."""
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", lambda targets: targets)
    try:
        ids = shift(torch.ones(1, 2, dtype=torch.long, device=model.device))
        named = bool(((ids >= 0) & (ids < vocabulary_size(model))).all())
    except (TypeError, ValueError):
        named = False
    if not named:
        must = "an encoder-decoder must name the token that targets begin with, one of its vocabulary"
        came = getattr(model.config, "decoder_start_token_id", None)
        raise CheckpointError(f"{must}; decoder_start_token_id is {came}. Set it in config.json")


@torch.no_grad()
def _check_causal(model: PreTrainedModel) -> None:
    """Refuse a model that is to predict the next token and sees it: another last token changes the logits before it."""
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 2]], device=model.device) % vocabulary_size(model)
    logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
    apart = float((logits[0] - logits[1]).abs().max())
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    if apart > tolerance * max(1.0, float(logits.abs().max())):
        must = f"a causal language model must not see the tokens that it predicts; this {type(model).__name__} does"
        raise CheckpointError(f"{must} (by {apart:.2g} of a logit). Set is_decoder in config.json if it was trained so")


TABLE = tomllib.loads((resources.files("prune_heads.checkpoints") / "checkpoints.toml").read_text())
UNUSED = tuple(TABLE["unused"]["always"])
"""Patterns of weights that a checkpoint may hold besides those of the model, which no head needs."""


@dataclass(frozen=True)
class Head:
    """One kind of head: how a checkpoint that has it is loaded, and what it must have. An objective names its own."""

    auto: str  # class of transformers that builds the model, such as `AutoModelForTokenClassification`
    name: str = "classification head"  # in messages
    reads: Literal["text", "image"] = "text"  # what the model is given: decides between tokenizer and image processor
    token: str | None = "pad"  # special token that the tokenizer must have: `pad`, `mask` or none
    unused: tuple[str, ...] = (*UNUSED, *TABLE["unused"]["pretraining"])  # weights that may be there besides
    cure: str = "Fine-tune it on the task first, or name one that is"  # for a checkpoint whose head was not trained
    prepare: Callable[[PreTrainedModel], Any] | None = None  # called with the loaded model

    @property
    def suffix(self) -> str:
        """What the names of the model classes share, such as `TokenClassification`."""
        return self.auto.removeprefix("AutoModelFor")


HeadOf = Callable[[PreTrainedConfig, str], Head]  # by configuration and name; raises `CheckpointError` for none

CLASSIFICATION = Head("AutoModelForSequenceClassification")

_PRETRAINED = "Name the checkpoint as it was pretrained"
_language_model = partial(Head, name="language-modelling head", unused=UNUSED, cure=_PRETRAINED)
LANGUAGE_MODELS: Mapping[Objective, Head] = {
    "causal": _language_model("AutoModelForCausalLM", token=None, prepare=_check_causal),
    "masked": _language_model("AutoModelForMaskedLM", token="mask", prepare=lambda model: None),
    "seq2seq": _language_model("AutoModelForSeq2SeqLM", prepare=_check_start),
}


def classification_head(config: PreTrainedConfig, name: str) -> Head:
    """The head of a sequence classifier; a language model is refused."""
    if objective := objective_of(config):
        must = f"a checkpoint must have a trained classification head; {name} is a language model"
        cure = f"or score it by its own loss on plain text with --task {'seq2seq' if objective == 'seq2seq' else 'lm'}"
        raise CheckpointError(f"{must} ({(config.architectures or [''])[0]}). Fine-tune it on the task first, {cure}")
    return CLASSIFICATION


def language_model_head(config: PreTrainedConfig, name: str, *, pairs: bool = False) -> Head:
    """The language-modelling head that the configuration names; `pairs` asks for an encoder-decoder."""
    objective = objective_of(config)
    named = ", ".join(config.architectures or ()) or "nothing"
    if objective is None:
        must = "'architectures' in config.json must name a class with a language-modelling head, as BertForMaskedLM"
        raise CheckpointError(f"{must}; that of {name} names {named}. {_PRETRAINED}")
    if pairs != (objective == "seq2seq"):
        wanted = "seq2seq must be given an encoder-decoder" if pairs else "lm must be given a causal or masked model"
        other = "lm" if pairs else "seq2seq"
        raise CheckpointError(f"--task {wanted}; {name} is none ({named}). Take --task {other}")
    return LANGUAGE_MODELS[objective]


def how_it_writes(model: nn.Module) -> str:
    """The `GenerationConfig` of a checkpoint as JSON; translations depend on it.

    An `UnsupportedModelError` if the model cannot write.
    """
    if not isinstance(model, GenerationMixin):
        must = f"a translation must be written by a model that has generate(); {type(model).__name__} has none"
        raise UnsupportedModelError(f"{must}. Take --task seq2seq, which asks how likely it finds the target")
    return str(model.generation_config.to_json_string(ignore_metadata=True))


@torch.no_grad()
def translate(
    model: nn.Module, tokenizer: Tokenizer, inputs: Mapping[str, Tensor], *, beams: int, n_max: int
) -> list[str]:
    """The targets that an encoder-decoder writes, as it is gated now.

    Which tokens begin and end a text, and which are forbidden, the checkpoint says; how to choose among the others, we
    say: nothing is drawn.

    Args:
        model: In evaluation mode.
        tokenizer: Its own.
        inputs: `input_ids` and `attention_mask`, `(batch, tokens)`, padded on the right.
        beams: Hypotheses kept at every token; 1 is greedy.
        n_max: Tokens of a target, at most, the one that ends it included.
    """
    how_it_writes(model)  # refuses a model that cannot write
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    choice = {"num_beams": beams, "do_sample": False, "max_length": None, "max_new_tokens": n_max, "use_cache": True}
    with quiet_transformers():  # it warns of each setting of the checkpoint that has no part in ours
        ids = cast(Any, model).generate(**given, **choice)
    return list(tokenizer.batch_decode(ids, skip_special_tokens=True))
