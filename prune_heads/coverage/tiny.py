"""A tiny random sequence classifier of every model type: 3 layers, 4 heads of 8 dimensions, 2 key and value heads."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.errors import UnsupportedModelError

N_LABELS, PAD, END, VOCABULARY = 3, 0, 2, 120
_TOO_LARGE = 10_000_000
"""Parameters beyond which a model is not built: some types' defaults are billions."""

_EVERYWHERE = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "emb_dim", "dim", "embedding_size", "d_embed"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers"), 3),
    **dict.fromkeys(("decoder_layers", "num_decoder_layers"), 3),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    "num_key_value_heads": 2,
    **dict.fromkeys(("head_dim", "d_head", "d_kv"), 8),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "d_ff"), 48),
    **dict.fromkeys(("d_inner", "n_inner", "dff", "hidden_dim", "ffn_hidden_size"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "num_experts_per_tok": 2,
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_seq_length"), 64),
    "vocab_size": VOCABULARY,
    "pad_token_id": PAD,
    "eos_token_id": END,
    "num_labels": N_LABELS,
}
"""Names of sizes, whichever a configuration has."""

_LATENT = {
    "num_key_value_heads": 4,
    **dict.fromkeys(("head_dim", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "layer_types": ["linear_attention", "full_attention", "full_attention"],
}
_OWN: Mapping[str, Mapping[str, Any]] = {
    "axk1": {**_LATENT, "first_k_dense_replace": 3},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16},
    "deepseek_v2": {**_LATENT, "first_k_dense_replace": 3},
    "deepseek_v3": {**_LATENT, "first_k_dense_replace": 3},
    "esmc": {"num_key_value_heads": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1], [["global"], 1]]},
    "gptj": {"rotary_dim": 4},
    "jamba": {"attn_layer_offset": 1, "attn_layer_period": 2, "use_mamba_kernels": False, "mamba_d_state": 4},
    "layoutlmv3": {
        "input_size": 32,
        "coordinate_size": 4,
        "shape_size": 8,
        "has_relative_attention_bias": True,
    },
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 20, "entity_emb_size": 8, "cls_entity_prediction": False},
    "markuplm": {
        "max_xpath_tag_unit_embeddings": 20,
        "max_xpath_subs_unit_embeddings": 20,
        "tag_pad_id": 19,
        "subs_pad_id": 19,
        "xpath_unit_hidden_size": 8,
    },
    "minicpm3": _LATENT,
    "minimax": {"layer_types": ["linear_attention", "full_attention", "full_attention"]},
    "mistral4": {**_LATENT, "head_dim": 16, "first_k_dense_replace": 3},
    "mobilebert": {"true_hidden_size": 32, "intra_bottleneck_size": 32},
    "perceiver": {
        "d_latents": 32,
        "num_self_attends_per_block": 3,
        "num_self_attention_heads": 4,
        "num_latents": 6,
    },
    "qwen3_5_text": _LINEAR,
    "qwen3_next": _LINEAR,
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "roc_bert": {
        "pronunciation_vocab_size": 20,
        "shape_vocab_size": 20,
        "pronunciation_embed_dim": 8,
        "shape_embed_dim": 8,
    },
    "t5": {"decoder_start_token_id": PAD},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
}
"""What a type needs besides."""


def tiny_config(model_type: str) -> PreTrainedConfig:
    """The configuration, from the type's own defaults with every size made small, also in configurations inside."""
    return _small(CONFIG_MAPPING[model_type])


def _small(config_class: type[PreTrainedConfig]) -> PreTrainedConfig:
    base, aliases = config_class(), getattr(config_class, "attribute_map", {})
    known = set(base.to_dict()) | set(aliases) | {"num_labels", "pad_token_id", "eos_token_id"}
    sizes: dict[str, Any] = {}
    for name, size in _EVERYWHERE.items():
        if name in known:
            sizes.setdefault(aliases.get(name, name), size)
    inside = {name: _small(type(x)) for name, x in vars(base).items() if isinstance(x, PreTrainedConfig)}
    return config_class(**sizes | inside | dict(_OWN.get(config_class.model_type, {})))


def tiny_model(model_type: str, *, attention: str | None = None, seed: int = 0) -> PreTrainedModel:
    """A random classifier in evaluation mode, its weights large enough that every head matters.

    Raises:
        UnsupportedModelError: If it would have more parameters than a tiny model has.
    """
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        config = tiny_config(model_type)
        with torch.device("meta"):
            n = sum(p.numel() for p in AutoModelForSequenceClassification.from_config(config).parameters())
        if n > _TOO_LARGE:
            raise UnsupportedModelError(
                f"a tiny model must be tiny; that of {model_type} has {n:,} parameters"
            )
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.15)  # biases too: b_V must be seen to go
    return model.eval()


def tiny_inputs(n_examples: int = 3, n_tokens: int = 9, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """A right-padded batch, `(n_examples, n_tokens)`; every example has another length and ends with END."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, VOCABULARY, (n_examples, n_tokens), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    for row in range(n_examples):
        input_ids[row, n_tokens - row - 1] = END
        input_ids[row, n_tokens - row :] = PAD
        attention_mask[row, n_tokens - row :] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}
