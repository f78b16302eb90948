"""What a language model was trained to predict, whether its configuration says how, and what it writes."""

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.models.auto import modeling_auto

from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.errors import CheckpointError, UnsupportedModelError

Objective = Literal["causal", "masked", "seq2seq"]
"""What a language model was trained to predict: the next token, masked tokens, or a target given a source."""

CAUSAL = frozenset(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
_MASKED = frozenset(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values())
_SEQ2SEQ = frozenset(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.values())


def vocabulary_size(model: Any) -> int:
    """Tokens between which a language model chooses."""
    head = model.get_output_embeddings() or model.get_input_embeddings()
    return int(head.weight.shape[0])


def objective_of(config: PreTrainedConfig | None, name: str | None = None) -> Objective | None:
    """What a class was trained to predict, by default the one that a configuration names.

    None for a class of no language model.
    """
    name = name or (getattr(config, "architectures", None) or [""])[0]
    if name in _SEQ2SEQ:  # BART's is among the masked ones too
        return "seq2seq"
    if name in CAUSAL and name in _MASKED:  # XLM's
        return "causal" if getattr(config, "causal", False) else "masked"
    return "causal" if name in CAUSAL else "masked" if name in _MASKED else None


def check_start(model: Any) -> None:
    """Refuse an encoder-decoder whose targets begin with no token of its vocabulary.

    Raises:
        CheckpointError: If its configuration does not name one.
    """
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", lambda targets: targets)
    try:
        ids = shift(torch.ones(1, 2, dtype=torch.long, device=model.device))
        named = bool(((ids >= 0) & (ids < vocabulary_size(model))).all())
    except (TypeError, ValueError):
        named = False
    if not named:
        raise CheckpointError(
            "an encoder-decoder must name the token that targets begin with, one of its vocabulary; "
            f"decoder_start_token_id is {getattr(model.config, 'decoder_start_token_id', None)}. Set it in config.json"
        )


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Refuse a model that is to predict the next token and sees it: another last token changes the logits before it.

    Raises:
        CheckpointError: If they change by more than rounding.
    """
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 2]], device=model.device) % vocabulary_size(model)
    logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
    apart = float((logits[0] - logits[1]).abs().max())
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    if apart > tolerance * max(1.0, float(logits.abs().max())):
        raise CheckpointError(
            f"a causal language model must not see the tokens that it predicts; this {type(model).__name__} does: its "
            f"logits change by {apart:.2g} with a later token. Set is_decoder in its config.json if it was trained as "
            "a decoder"
        )


def how_it_writes(model: nn.Module) -> str:
    """The `GenerationConfig` of a checkpoint as JSON; translations depend on it.

    Raises:
        UnsupportedModelError: If the model cannot write.
    """
    if not isinstance(model, GenerationMixin):
        raise UnsupportedModelError(
            f"a translation must be written by a model that has generate(); {type(model).__name__} has none. Take "
            "--task seq2seq, which asks how likely it finds the target"
        )
    said: str = model.generation_config.to_json_string(ignore_metadata=True)
    return said


@torch.no_grad()
def translate(
    model: nn.Module, tokenizer: Tokenizer, inputs: Mapping[str, Tensor], *, beams: int, n_max: int
) -> list[str]:
    """The targets that an encoder-decoder writes in evaluation mode, as it is gated now.

    Which tokens begin and end a text, and which are forbidden, the checkpoint says; how to choose among the others, we
    say: nothing is drawn.

    Args:
        model: An encoder-decoder.
        tokenizer: Its own.
        inputs: `input_ids` and `attention_mask`, `(batch, tokens)`, padded on the right.
        beams: Hypotheses kept at every token; 1 is greedy.
        n_max: Tokens of a target, at most, the one that ends it included.

    Raises:
        UnsupportedModelError: See `how_it_writes`.
    """
    how_it_writes(model)
    given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    choice = {"num_beams": beams, "do_sample": False, "max_length": None, "max_new_tokens": n_max, "use_cache": True}
    with quiet_transformers():  # it warns of each setting of the checkpoint that has no part in ours
        ids = cast(Any, model).generate(**given, **choice)
    texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts
