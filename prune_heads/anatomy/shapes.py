"""The layouts that families share, and the reasons for which some heads stay where they are."""

from dataclasses import replace

from prune_heads.anatomy.layout import Layout

BERT = Layout(
    pattern=r"encoder\.layer\.(\d+)\.attention",
    query="self.query",
    key="self.key",
    value="self.value",
    output="output.dense",
    core="self",
    counted_by="self.attention_head_size",
    counts_dimensions=True,
    counters=("num_attention_heads", "all_head_size"),
)
LLAMA = Layout(
    pattern=r"layers\.(\d+)\.self_attn",
    query="q_proj",
    key="k_proj",
    value="v_proj",
    output="o_proj",
    counted_by="head_dim",
    counts_dimensions=True,
    counters=("num_heads", "num_attention_heads", "num_key_value_heads"),
    stack="decoder",
)
BART = replace(LLAMA, output="out_proj", counters=("num_heads", "embed_dim", "num_attention_heads"))
GPT2 = Layout(
    pattern=r"h\.(\d+)\.attn",
    query="c_attn",
    key="c_attn",
    value="c_attn",
    output="c_proj",
    counted_by="num_heads",
    counters=("num_heads", "split_size"),
    stack="decoder",
)
BIGCODE = replace(GPT2, counters=("num_heads", "embed_dim", "kv_dim", "kv_heads"))
BLOOM = Layout(
    pattern=r"h\.(\d+)\.self_attention",
    query="query_key_value",
    key="query_key_value",
    value="query_key_value",
    output="dense",
    counted_by="head_dim",
    counts_dimensions=True,
    interleaved=True,
    counters=("num_heads", "num_kv_heads"),
    stack="decoder",
)
ALIBI = "its ALiBi slopes, one a head, are built once for all layers"
FALCON = replace(BLOOM, not_removed_if=("alibi", True, ALIBI))
LATENT = replace(
    LLAMA,
    query="q_b_proj|q_proj",
    key="kv_b_proj",
    value="kv_b_proj",
    interleaved=True,
    counted_by="v_head_dim",
    counters=("num_heads",),
)
DISTILBERT = Layout(
    pattern=r"transformer\.layer\.(\d+)\.attention",
    query="q_lin",
    key="k_lin",
    value="v_lin",
    output="out_lin",
    counted_by="attention_head_size",
    counts_dimensions=True,
    counters=("n_heads", "dim"),
)
XLM = replace(DISTILBERT, pattern=r"attentions\.(\d+)", counted_by="head_dim")
T5 = Layout(
    pattern=r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention",
    query="q",
    key="k",
    value="v",
    output="o",
    counted_by="key_value_proj_dim",
    counts_dimensions=True,
    counters=("n_heads", "inner_dim"),
    shared_biases=("position_bias",),
    n_outputs=0,  # the first layer computes the biases of all
)
MODERN = Layout(
    pattern=r"layers\.(\d+)\.attn",
    query="Wqkv",
    key="Wqkv",
    value="Wqkv",
    output="Wo",
    counted_by="head_dim",
    counts_dimensions=True,
    counters=("num_heads", "all_head_size"),
)

DEBERTA = replace(
    BERT,
    query="self.in_proj",
    key="self.in_proj",
    value="self.in_proj",
    interleaved=True,
    also=(("self.q_bias", 0), ("self.v_bias", 0), ("self.pos_proj", 0), ("self.pos_q_proj", 0)),
)
TALKING = "its heads mix their attention with each other's (talking_head in its configuration)"
NORM_OVER_ALL = "a norm runs over the queries and keys of all heads together"
BUILT_ANEW = "it builds its attention anew, from its configuration, for texts of another length"
ONE_SIZE = "its code has one size for its input and for its heads"
ONE_CONVOLUTION = "one convolution runs over all heads"


def encoder_decoder(
    layout: Layout, own: str = "self_attn", cross: str = "encoder_attn"
) -> tuple[Layout, ...]:
    """Encoder (E), encoder-decoder attention (A) and decoder (D), in the order of the paper's tables."""
    return (
        replace(layout, pattern=rf"encoder\.layers\.(\d+)\.{own}", stack="encoder"),
        replace(layout, pattern=rf"decoder\.layers\.(\d+)\.{cross}", stack="decoder", kind="cross"),
        replace(layout, pattern=rf"decoder\.layers\.(\d+)\.{own}", stack="decoder"),
    )


def of_t5(layout: Layout) -> tuple[Layout, ...]:
    """The same for T5, whose layers are lists of sublayers."""
    block = r"decoder\.block\.(\d+)\.layer"
    return (
        layout,
        replace(layout, pattern=rf"{block}\.1\.EncDecAttention", stack="decoder", kind="cross", also=()),
        replace(layout, pattern=rf"{block}\.0\.SelfAttention", stack="decoder"),
    )
