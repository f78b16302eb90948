"""Which layouts a model type has. Data: a new family is a new row, not a new branch."""

from collections.abc import Mapping
from dataclasses import replace

from prune_heads.anatomy.layout import (
    ALIBI,
    APPROXIMATE,
    BART,
    BERT,
    BIGCODE,
    BLOOM,
    BUILT_ANEW,
    DEBERTA,
    DISTILBERT,
    FALCON,
    GPT2,
    IN_BLOCKS,
    LATENT,
    LLAMA,
    MODERN,
    NORM_OVER_ALL,
    ONE_CONVOLUTION,
    ONE_SIZE,
    RELATIVE,
    SHORTENED,
    T5,
    TALKING,
    XLM,
    Layout,
    encoder_decoder,
    of_t5,
)

_SHARED: Mapping[str, tuple[Layout, ...]] = {
    "bert camembert data2vec-text electra ernie esm layoutlm markuplm megatron-bert mobilebert rembert roberta "
    "roberta-prelayernorm roc_bert roformer tapas xlm-roberta xlm-roberta-xl xmod": (BERT,),
    "arcee cohere_compass_text exaone4 gemma gemma2 gemma3_text glm glm4 helium hunyuan_v1_dense hunyuan_v1_moe llama "
    "ministral ministral3 mistral mixtral nemotron olmo phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 "
    "starcoder2": (LLAMA,),
    "stablelm": (replace(LLAMA, not_removed_if=("qk_layernorm", True, "each head has a norm of its own")),),
    "eurobert gte jina_embeddings_v3 nomic_bert ultrabert": (replace(LLAMA, stack="encoder"),),
    "jamba minimax qwen3_5_text qwen3_next": (replace(LLAMA, some_layers=True),),
    "olmo2 olmo3": (replace(LLAMA, coupled=NORM_OVER_ALL),),
    "esmc": (replace(LLAMA, stack="encoder", coupled=NORM_OVER_ALL),),
    "bart mbart plbart": encoder_decoder(BART),
    "mvp": encoder_decoder(replace(BART, not_removed_if=("use_prompt", True, "its prompts have keys for all heads"))),
    "biogpt opt": (BART,),
    "axk1 deepseek_v2 deepseek_v3 minicpm3 mistral4": (replace(LATENT, counts_dimensions=True),),
    "gpt2 gpt-sw3": (GPT2,),
    "flaubert xlm": (XLM,),
    "mt5 t5": of_t5(T5),
}

_ALONE: Mapping[str, tuple[Layout, ...]] = {
    "albert": (
        Layout(
            pattern=r"albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.attention",
            qkv="query key value",
            output="dense",
            counted_by="attention_head_size",
            counts_dimensions=True,
            counters=("num_attention_heads", "all_head_size"),
            depths="num_hidden_layers",
            closing="LayerNorm",
        ),
    ),
    "big_bird": (replace(BERT, not_removed=BUILT_ANEW, other_attention=IN_BLOCKS),),
    "bigbird_pegasus": (
        replace(
            BERT,
            pattern=r"encoder\.layers\.(\d+)\.self_attn",
            output="output",
            not_removed=BUILT_ANEW,
            other_attention=IN_BLOCKS,
        ),
        *encoder_decoder(BART)[1:],
    ),
    "bloom": (  # with both switches it computes with slices of W_O, past its module
        replace(BLOOM, not_removed=ALIBI, when=(("slow_but_exact", False),)),
        replace(BLOOM, not_removed=ALIBI, when=(("slow_but_exact", True), ("pretraining_tp", 1))),
    ),
    "canine": (replace(BERT, pattern=r"canine\.encoder\.layer\.(\d+)\.attention", other_attention=SHORTENED),),
    "ctrl": (
        Layout(
            pattern=r"h\.(\d+)\.multi_head_attention",
            qkv="Wq Wk Wv",
            output="dense",
            counted_by="head_dim",
            counts_dimensions=True,
            counters=("num_heads", "d_model_size"),
            stack="decoder",
        ),
    ),
    "deberta": (
        replace(DEBERTA, when=(("talking_head", False),)),
        replace(DEBERTA, also=(("self.v_bias", 0),), coupled=TALKING, when=(("talking_head", True),)),
    ),
    "deberta-v2": (
        replace(
            BERT,
            qkv="self.query_proj self.key_proj self.value_proj",
            also=(("self.pos_key_proj", 0), ("self.pos_query_proj", 0)),
            other_attention=RELATIVE,
        ),
    ),
    "distilbert": (DISTILBERT,),
    "falcon": (
        replace(FALCON, interleaved=False, when=(("new_decoder_architecture", False), ("multi_query", True))),
        replace(FALCON, when=(("new_decoder_architecture", True),)),
        replace(FALCON, when=(("new_decoder_architecture", False), ("multi_query", False))),
    ),
    "funnel": (
        Layout(
            pattern=r"encoder\.blocks\.(\d+)\.(\d+)\.attention",
            qkv="q_head k_head v_head",
            output="post_proj",
            counted_by="config.d_head",
            counts_dimensions=True,
            not_removed="its position weights are indexed by the configuration's number of heads",
            other_attention=SHORTENED,
        ),
    ),
    "gemma3": (replace(LLAMA, pattern=r"language_model\.layers\.(\d+)\.self_attn"),),
    "gpt_bigcode": (
        replace(BIGCODE, when=(("multi_query", True),)),
        replace(BIGCODE, interleaved=True, when=(("multi_query", False),)),
    ),
    "gpt_neo": (replace(BART, pattern=r"h\.(\d+)\.attn\.attention"),),
    "gpt_neox": (replace(BLOOM, pattern=r"layers\.(\d+)\.attention", counted_by="head_size"),),
    "gpt_oss": (replace(LLAMA, also=(("sinks", 0),)),),
    "gptj": (replace(BART, pattern=r"h\.(\d+)\.attn"),),
    "layoutlmv3": (replace(BERT, shared_biases=("position_bias", "rel_pos", "rel_2d_pos")),),
    "lilt": (
        replace(
            BERT,
            coupled="the attention of text and layout is one sum",
            other_attention="the layout has an attention of its own",
        ),
    ),
    "longformer": (
        replace(
            BERT,
            counted_by="self.head_dim",
            also=(("self.query_global", 0), ("self.key_global", 0), ("self.value_global", 0)),
            not_removed=ONE_SIZE,
            other_attention="it attends in windows",
        ),
    ),
    "luke": (
        replace(
            BERT,
            also=(("self.w2e_query", 0), ("self.e2w_query", 0), ("self.e2e_query", 0)),
            n_outputs=0,  # more with entities
        ),
    ),
    "modernbert": (MODERN,),
    "modernbert-decoder": (replace(MODERN, qkv="q_proj k_proj v_proj", stack="decoder"),),
    "modernvbert": (replace(MODERN, pattern=r"text_model\.layers\.(\d+)\.attn"),),
    "mpnet": (
        replace(
            BERT,
            pattern=r"encoder\.layer\.(\d+)\.attention\.attn",
            qkv="q k v",
            output="o",
            core="",
            counted_by="attention_head_size",
            shared_biases=("position_bias",),
        ),
    ),
    "mpt": (
        replace(
            MODERN,
            pattern=r"blocks\.(\d+)\.attn",
            output="out_proj",
            counters=("n_heads", "hidden_size"),
            stack="decoder",
            shared_biases=("position_bias",),
        ),
    ),
    "nystromformer": (replace(BERT, not_removed=ONE_CONVOLUTION, other_attention=APPROXIMATE),),
    "openai-gpt": (replace(GPT2, counted_by="n_head", counters=("n_head", "split_size"), outputs=list),),
    "perceiver": (
        replace(
            BERT,
            pattern=r"self_attends\.(\d+)\.attention",
            counted_by="self.v_channels_per_head",
            counters=("num_heads", "v_channels", "qk_channels"),
            other_attention="it attends between latents, not tokens",
        ),
    ),
    "persimmon": (replace(BLOOM, pattern=r"layers\.(\d+)\.self_attn"),),
    "phi": (replace(LLAMA, output="dense"),),
    "phi3": (replace(LLAMA, qkv="qkv_proj", config_counters=("num_attention_heads",)),),
    "qwen3_5": (replace(LLAMA, pattern=r"language_model\.layers\.(\d+)\.self_attn", some_layers=True),),
    "t5gemma": encoder_decoder(LLAMA, cross="cross_attn"),
    "t5gemma2": (
        replace(LLAMA, pattern=r"text_model\.layers\.(\d+)\.self_attn", stack="encoder"),
        replace(
            LLAMA,
            pattern=r"decoder\.layers\.(\d+)\.self_attn",
            n_outputs=3,
            other_attention="the decoder attends to its own and to the encoder's tokens in one product",
        ),
    ),
    "ultravbert": (replace(LLAMA, pattern=r"text_model\.layers\.(\d+)\.self_attn", stack="encoder"),),
    "umt5": of_t5(replace(T5, shared_biases=(), n_outputs=2, also=(("relative_attention_bias", 1),))),
    "xlnet": (
        Layout(
            pattern=r"layer\.(\d+)\.rel_attn",
            qkv="q k v",
            output="o",
            counted_by="n_head",
            counters=("n_head",),
            also=(("r", 1), ("r_r_bias", 0), ("r_s_bias", 0), ("r_w_bias", 0), ("seg_embed", 1)),
            context="post_attention",
            other_attention=RELATIVE,
        ),
    ),
    "yoso": (replace(BERT, not_removed=ONE_CONVOLUTION, other_attention=APPROXIMATE),),
}

_IMAGES: Mapping[str, tuple[Layout, ...]] = {
    "deit vit": (replace(LLAMA, pattern=r"layers\.(\d+)\.attention", stack="encoder"),),
    "swin": (
        replace(
            LLAMA,
            pattern=r"layers\.(\d+)\.blocks\.(\d+)\.attention",
            stack="encoder",
            also=(("relative_position_bias.relative_position_bias_table", 1),),
        ),
    ),
}

_TRANSLATION: Mapping[str, tuple[Layout, ...]] = {
    "blenderbot blenderbot-small m2m_100 marian pegasus": encoder_decoder(BART),
    "fsmt": encoder_decoder(replace(BART, context="batch second", not_removed=ONE_SIZE)),
}

FAMILIES: Mapping[str, tuple[Layout, ...]] = dict(
    sorted(
        (name, row)
        for rows in (_SHARED, _ALONE, _IMAGES, _TRANSLATION)
        for names, row in rows.items()
        for name in names.split()
    )
)
"""transformers' `model_type` -> the layouts of its blocks."""

UNKNOWN: Mapping[str, str] = {
    "axk2": "the queries of a head and its output gate are one projection",
    "convbert": "half of W_O's input is a convolution, not heads",
    "diffllama": "a head is the difference of two attentions, normalised together",
    "doge": "a mask computed from the values of all heads couples them",
    "fnet": "it has no attention heads: tokens are mixed by a Fourier transform",
    "ibert": "its linear maps are quantised",
    "jetmoe": "each expert has a W_Q and a W_O of its own",
    "mra": "without its own CUDA kernels its attention gives zeros",
    "layoutlmv2": "its model class needs detectron2",
    "reformer": "it attends by hashing, with shared queries and keys",
    "squeezebert": "its projections are grouped convolutions",
    "zamba": "one attention block is shared by layers that differ around it",
    "zamba2": "one attention block is shared by layers that differ around it",
}
"""Types with a sequence classifier whose heads are not understood, and why: refused, never guessed."""
