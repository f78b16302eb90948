"""What a language model was trained to predict, and whether its configuration says how."""

from typing import Any, Literal

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from prune_heads.errors import CheckpointError

Objective = Literal["causal", "masked", "seq2seq"]
"""What a language model was trained to predict: the next token, masked tokens, or a target given a source."""

_CAUSAL = frozenset(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
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
    if name in _CAUSAL and name in _MASKED:  # XLM's
        return "causal" if getattr(config, "causal", False) else "masked"
    return "causal" if name in _CAUSAL else "masked" if name in _MASKED else None


def check_start(model: Any) -> None:
    """Targets must begin with a token that the configuration names.

    Raises:
        CheckpointError: If it names none.
    """
    targets = torch.ones(1, 2, dtype=torch.long, device=model.device)
    start = getattr(model.config, "decoder_start_token_id", None)
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", lambda targets: targets)
    try:
        ids = shift(targets)
        named = bool(((ids >= 0) & (ids < vocabulary_size(model))).all())
    except (TypeError, ValueError):
        named = False
    if not named:
        raise CheckpointError(
            "an encoder-decoder must name the token that targets begin with, one of its vocabulary; "
            f"decoder_start_token_id is {start}. Set it in config.json"
        )


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Another last token must leave the logits before it as they are.

    Raises:
        CheckpointError: If the model is to predict the next token and sees it.
    """
    device = model.device
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 2]], device=device) % vocabulary_size(model)
    logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, :-1].float()
    apart = float((logits[0] - logits[1]).abs().max())
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    if apart > tolerance * max(1.0, float(logits.abs().max())):
        raise CheckpointError(
            f"a causal language model must not see the tokens that it predicts; this {type(model).__name__} does: its "
            f"logits change by {apart:.2g} with a later token. Set is_decoder in its config.json if it was trained as "
            "a decoder"
        )
