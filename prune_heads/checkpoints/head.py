"""What a model has on top (`Head`), and which one the configuration of a checkpoint names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from transformers import PreTrainedConfig, PreTrainedModel

from prune_heads.checkpoints.language_model import Objective, check_causal, check_start, objective_of
from prune_heads.errors import CheckpointError

UNUSED = (
    r"(^|\.)pooler\.",  # the first token's state for other heads; a head that needs it would own it
    # Computed from the configuration, as files of older versions hold it.
    r"(^|\.)(position_ids|token_type_ids|inv_freq|relative_position_index|num_batches_tracked)$",
    r"(^|\.)(attn(\.attention)?\.bias|masked_bias)$",  # the causal mask of GPT and GPT-Neo, as older files hold it
    r"(^|\.)((encoder|decoder)\.version|embed_positions\.weights)$",  # a number of fairseq's, and sinusoidal positions
    # Heads of pre-training that give no tokens.
    r"^(cls\.seq_relationship|sop_classifier|discriminator_predictions|mask_predictions)\.",
)
"""Patterns of weights that a checkpoint may hold besides those of the model, which no head needs."""

_PRETRAINING = (
    # Heads of pre-training, whose place the classification head takes; the last is DistilBERT's.
    r"^(cls|lm_head|lm_predictions|predictions|generator_predictions|generator_lm_head|lm_loss|pred_layer)\.",
    r"^vocab_(transform|layer_norm|projector)\.",
)


@dataclass(frozen=True)
class Head:
    """One kind of head: how a checkpoint that has it is loaded, and what it must have. An objective names its own."""

    auto: str
    """Class of transformers that builds the model, such as `AutoModelForTokenClassification`."""
    name: str = "classification head"
    """In messages."""
    reads: Literal["text", "image"] = "text"
    """What the model is given: decides between tokenizer and image processor."""
    token: str | None = "pad"
    """Special token that the tokenizer must have: `pad`, `mask` or none."""
    unused: tuple[str, ...] = (*UNUSED, *_PRETRAINING)
    """Patterns of weights that a checkpoint may hold beside those of the model."""
    cure: str = "Fine-tune it on the task first, or name one that is"
    """For a checkpoint whose head was not trained."""
    prepare: Callable[[PreTrainedModel], Any] | None = None
    """Called with the loaded model."""

    @property
    def suffix(self) -> str:
        """What the names of the model classes share, such as `TokenClassification`."""
        return self.auto.removeprefix("AutoModelFor")


HeadOf = Callable[[PreTrainedConfig, str], Head]
"""The head to load, by a checkpoint's configuration and name; raises `CheckpointError` where there is none."""

CLASSIFICATION = Head("AutoModelForSequenceClassification")

_language_model = partial(
    Head, name="language-modelling head", unused=UNUSED, cure="Name the checkpoint as it was pretrained"
)
LANGUAGE_MODELS: Mapping[Objective, Head] = {
    "causal": _language_model("AutoModelForCausalLM", token=None, prepare=check_causal),
    "masked": _language_model("AutoModelForMaskedLM", token="mask", prepare=lambda model: None),
    "seq2seq": _language_model("AutoModelForSeq2SeqLM", prepare=check_start),
}


def classification_head(config: PreTrainedConfig, name: str) -> Head:
    """The head of a sequence classifier; a language model is refused."""
    if objective := objective_of(config):
        raise CheckpointError(
            f"a checkpoint must have a trained classification head; {name} is a language model "
            f"({(config.architectures or [''])[0]}). Fine-tune it on the task first, or score it by its own loss on "
            f"plain text with --task {'seq2seq' if objective == 'seq2seq' else 'lm'}"
        )
    return CLASSIFICATION


def language_model_head(config: PreTrainedConfig, name: str, *, pairs: bool = False) -> Head:
    """The language-modelling head that the configuration names; `pairs` asks for an encoder-decoder."""
    objective = objective_of(config)
    named = ", ".join(config.architectures or ()) or "nothing"
    if objective is None:
        raise CheckpointError(
            "a language model must name a class with a language-modelling head in 'architectures' of its config.json, "
            f"such as BertForMaskedLM, GPT2LMHeadModel or T5ForConditionalGeneration; that of {name} names {named}. "
            "Name the checkpoint as it was pretrained"
        )
    if pairs != (objective == "seq2seq"):
        wanted, other = ("an encoder-decoder", "lm") if pairs else ("a causal or masked model", "seq2seq")
        raise CheckpointError(
            f"--task {'seq2seq' if pairs else 'lm'} must be given {wanted}; {name} is none ({named}). "
            f"Take --task {other}"
        )
    return LANGUAGE_MODELS[objective]
