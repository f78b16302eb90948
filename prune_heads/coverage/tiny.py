"""A tiny random model of every type: unless asked otherwise 3 layers, 4 heads of 8 dimensions, 2 of keys and values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import transformers
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.errors import UnsupportedModelError

N_LABELS, PAD, END, VOCABULARY = 3, 0, 2, 120
_TOO_LARGE = 10_000_000
"""Parameters beyond which a model is not built: some types' defaults are billions."""
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}

Padding = Literal["right", "left", "none", "hole"]
"""Where a batch is padded; `hole`: on the right, and a token amid each text is not seen either."""


@dataclass(frozen=True)
class Sizes:
    """What a tiny model measures, as far as its configuration can say so."""

    width: int = 32
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 8
    inner: int = 48

    def everywhere(self) -> dict[str, Any]:
        """By the names of sizes, whichever a configuration has."""
        width = ("hidden_size", "d_model", "n_embd", "emb_dim", "dim", "embedding_size", "d_embed")
        layers = ("num_hidden_layers", "n_layers", "n_layer", "num_layers", "encoder_layers")
        heads = ("num_attention_heads", "n_heads", "n_head", "num_heads", "encoder_attention_heads")
        inner = ("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "d_ff", "d_inner")
        return {
            **dict.fromkeys(width, self.width),
            **dict.fromkeys((*layers, "decoder_layers", "num_decoder_layers"), self.layers),
            **dict.fromkeys((*heads, "decoder_attention_heads"), self.heads),
            "num_key_value_heads": self.kv_heads,
            **dict.fromkeys(("head_dim", "d_head", "d_kv"), self.head_dim),
            **dict.fromkeys((*inner, "n_inner", "dff", "hidden_dim", "ffn_hidden_size"), self.inner),
            **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
            **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
            "num_experts_per_tok": 2,
            **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 64),
            **dict.fromkeys(("max_seq_len", "max_seq_length"), 64),
            **dict.fromkeys(("vocab_size", "src_vocab_size", "tgt_vocab_size"), VOCABULARY),
            "pad_token_id": PAD,
            "eos_token_id": END,
            "bos_token_id": 1,
            "num_labels": N_LABELS,
            "langs": ["en", "de"],
        }

    # long: a table, one row a type with what its configuration needs
    def of(self, model_type: str) -> Mapping[str, Any]:
        """What a type needs besides."""
        latent = {
            "num_key_value_heads": self.heads,
            **dict.fromkeys(("head_dim", "qk_rope_head_dim", "qk_nope_head_dim"), 8),
            "v_head_dim": self.head_dim,
            **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
        }
        attends_later = ["linear_attention", *["full_attention"] * (self.layers - 1)]
        linear = {
            **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
            **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads"), 2),
            "layer_types": attends_later,
        }
        relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16}
        images = {"image_size": 16, "patch_size": 4}
        xpath = {f"max_xpath_{which}_unit_embeddings": 20 for which in ("tag", "subs")}
        dense = {**latent, "first_k_dense_replace": 3}
        sparse = {"block_size": 2, "num_random_blocks": 1}
        own: Mapping[str, Mapping[str, Any]] = {
            **dict.fromkeys(("axk1", "deepseek_v2", "deepseek_v3"), dense),
            **dict.fromkeys(("big_bird", "bigbird_pegasus"), sparse),
            "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
            **dict.fromkeys(("deberta", "deberta-v2"), relative),
            **dict.fromkeys(("deit", "vit"), images),
            "esmc": {"num_key_value_heads": self.heads},
            "gpt_neo": {"attention_types": [[["global", "local"], 1], [["global"], self.layers - 2]]},
            "gptj": {"rotary_dim": 4},
            "jamba": {"attn_layer_offset": 1, "attn_layer_period": 2, "use_mamba_kernels": False, "mamba_d_state": 4},
            "layoutlmv3": {
                "input_size": 32,
                "coordinate_size": self.width // 8,
                "shape_size": self.width // 4,
                "has_relative_attention_bias": True,
            },
            "lilt": {"hidden_size": self.width // 2 * 3},
            "longformer": {"attention_window": 8},
            "luke": {"entity_vocab_size": 20, "entity_emb_size": 8, "cls_entity_prediction": False},
            "markuplm": {**xpath, "tag_pad_id": 19, "subs_pad_id": 19, "xpath_unit_hidden_size": 8},
            "minicpm3": latent,
            "minimax": {"layer_types": attends_later},
            "mistral4": {**dense, "head_dim": 16},
            "mobilebert": {"true_hidden_size": self.width, "intra_bottleneck_size": self.width},
            "perceiver": {
                "d_latents": self.width,
                "num_self_attends_per_block": self.layers,
                "num_self_attention_heads": self.heads,
                "num_latents": 6,
            },
            **dict.fromkeys(("qwen3_5_text", "qwen3_next"), linear),
            "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
            "roc_bert": {
                **dict.fromkeys(("pronunciation_vocab_size", "shape_vocab_size"), 20),
                **dict.fromkeys(("pronunciation_embed_dim", "shape_embed_dim"), 8),
            },
            "swin": {
                **{"image_size": 32, "patch_size": 4, "embed_dim": 4 * self.head_dim, "depths": [2, 2]},
                **{"num_heads": [2, 4], "window_size": 4},
            },
            "t5": {"decoder_start_token_id": PAD},
            "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
        }
        return own.get(model_type, {})


def tiny_config(model_type: str, sizes: Sizes | None = None, **changes: Any) -> PreTrainedConfig:
    """The configuration, from the type's own defaults with every size made small, also in configurations inside.

    Args:
        model_type: Of transformers.
        sizes: How small.
        changes: Fields that are to be otherwise, wherever a configuration has them.
    """
    config = _small(CONFIG_MAPPING[model_type], sizes or Sizes(), changes)
    for name, value in changes.items():  # what the code asks for with a default, no configuration class need name
        if not any(hasattr(each, name) for each in (config, *vars(config).values())):
            setattr(config, name, value)
    return config


def _small(config_class: type[PreTrainedConfig], sizes: Sizes, changes: Mapping[str, Any]) -> PreTrainedConfig:
    base, aliases = config_class(), getattr(config_class, "attribute_map", {})
    usual = {"num_labels", "pad_token_id", "eos_token_id", "bos_token_id"}
    known = set(base.to_dict()) | set(aliases) | usual
    small: dict[str, Any] = {}
    for name, size in sizes.everywhere().items():
        if name in known:
            small.setdefault(aliases.get(name, name), size)
    inside = {
        name: _small(type(x), sizes, changes) for name, x in vars(base).items() if isinstance(x, PreTrainedConfig)
    }
    changed = {aliases.get(name, name): value for name, value in changes.items() if name in known}
    return config_class(**small | inside | dict(sizes.of(config_class.model_type)) | changed)


def model_class(model_type: str) -> type[PreTrainedModel]:
    """The type's sequence classifier where it has one, else what translates or classifies images.

    Raises:
        UnsupportedModelError: If it has none of them.
    """
    for names in (
        modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    ):
        if found := names.get(model_type):
            name = found if isinstance(found, str) else found[0]
            return cast(type[PreTrainedModel], getattr(transformers, name))
    raise UnsupportedModelError(f"a tiny model must be a classifier or translate; {model_type!r} does neither")


def tiny_model(
    model_type: str, *, attention: str | None = None, seed: int = 0, sizes: Sizes | None = None, **changes: Any
) -> PreTrainedModel:
    """A random model in evaluation mode, everything in it that is learned drawn at random (`draw`).

    Args:
        model_type: Of transformers.
        attention: Its implementation: `eager` or `sdpa`.
        seed: Of its weights.
        sizes: How small.
        changes: Fields of its configuration that are to be otherwise.

    Raises:
        UnsupportedModelError: If it would have more parameters than a tiny model has.
    """
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        config, build = tiny_config(model_type, sizes, **changes), model_class(model_type)._from_config
        with torch.device("meta"):
            n = sum(p.numel() for p in build(config).parameters())
        if n > _TOO_LARGE:
            raise UnsupportedModelError(f"a tiny model must be tiny; that of {model_type} has {n:,} parameters")
        torch.manual_seed(seed)
        model: PreTrainedModel = draw(build(config, attn_implementation=attention))
    return model.eval()


@torch.no_grad()
def draw(model: PreTrainedModel) -> PreTrainedModel:
    """Draw what is learned: scales, which begin at 1, around 1, the rest around 0; every head matters.

    Biases must be drawn for b_V to be seen to go, norms for one that belongs to a head.
    """
    learned = {**dict(model.named_parameters()), **model.state_dict(keep_vars=True)}
    for tensor in dict.fromkeys(learned.values()):
        if tensor.is_floating_point():
            is_scale = tensor.numel() > 0 and bool((tensor == 1).all())
            torch.nn.init.normal_(tensor, float(is_scale), 0.15)
    return model


def tiny_inputs(
    n_examples: int = 3, n_tokens: int = 9, *, seed: int = 0, padding: Padding = "right"
) -> dict[str, Tensor]:
    """A padded batch, `(n_examples, n_tokens)`; every example has another length and ends with END."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, VOCABULARY, (n_examples, n_tokens), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    for row in range(n_examples):
        n = n_tokens - row if padding != "none" else n_tokens
        input_ids[row, n - 1] = END
        input_ids[row, n:], attention_mask[row, n:] = PAD, 0
        if padding == "left":
            input_ids[row], attention_mask[row] = input_ids[row].roll(row), attention_mask[row].roll(row)
    if padding == "hole":
        attention_mask[:, 2] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def inputs_for(
    model: PreTrainedModel, *, seed: int = 0, padding: Padding = "right", n_tokens: int = 9
) -> dict[str, Tensor]:
    """What the model takes: a batch of texts, or of images."""
    size = getattr(model.config, "image_size", None)
    if model.main_input_name == "pixel_values" and size is not None:
        return {"pixel_values": torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(seed))}
    texts = tiny_inputs(seed=seed, padding=padding, n_tokens=n_tokens)
    if model.config.is_encoder_decoder and model.can_generate():
        texts["decoder_input_ids"] = tiny_inputs(seed=seed + 1, n_tokens=6)["input_ids"]
    return texts
