"""`Layout`: where the attention of a model family is and what its heads own; and the layouts that families share."""

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["self", "cross"]
Stack = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Layout:
    """One kind of attention block of a family."""

    pattern: str
    """Regular expression that a module path must end with; its groups are the layer, from 0. Empty where modules are
    found by their class."""
    qkv: str
    """Paths of W_Q, W_K and W_V from the block, each a linear map or a parameter; `a|b` for whichever is there. Equal
    paths mean that it holds several of them, in this order; one path alone, all three. A parameter of three dimensions
    is `(width, heads, dimensions)`."""
    output: str
    """Path of W_O from the block."""
    counted_by: str
    """Path of the attribute that holds the number of heads, or their dimensions, as it is used."""
    n_heads: int | None = None
    """The number of heads, where no attribute holds it."""
    counts_dimensions: bool = False
    """Whether that attribute is the dimensions of one head."""
    interleaved: bool = False
    """Whether a module that holds several projections keeps them head by head."""
    counters: tuple[str, ...] = ()
    """Names of attributes that count heads or their dimensions and must follow when heads are removed."""
    also: tuple[tuple[str, int], ...] = ()
    """Other weights that heads own, where they are there: path of a parameter or module, and its dimension of heads."""
    config_counters: tuple[str, ...] = ()
    """The same as `counters`, read from the block's configuration."""
    shared_biases: tuple[str, ...] = ()
    """Arguments of the block's forward that hold scores for every head, `(..., n_heads, queries, keys)`."""
    when: tuple[tuple[str, object], ...] = ()
    """What the configuration must say for this layout to hold."""
    context: str = ""
    """A way of `anatomy.context` to reach the input of W_O, where it is not called as a module, batch first."""
    core: str = ""
    """Path of the module that attends; without heads it is skipped. It gives W_O's output where W_O is inside, else its
    input, and `n_outputs` things in all."""
    closing: str = ""
    """Path, from there, of the norm of the sum of its input and W_O's output, where it is inside, too."""
    n_outputs: int = 2
    """0: it is not skipped, since it gives more than its heads do; its own forward runs without heads too."""
    outputs: type[tuple[object, ...]] | type[list[object]] = tuple
    """What holds them."""
    kind: Kind = "self"
    stack: Stack = "encoder"
    depths: str | None = None
    """Name in the configuration of the number of layers, where layers share weights."""
    other_attention: str = ""
    """How it is more or less than one product of all tokens with all: its multiply-adds are not counted then."""
    some_layers: bool = False
    """Whether some layers have no attention."""
    coupled: str = ""
    """Why W_Q and W_K of a head cannot be changed without changing others, so that heads cannot be taken out either."""
    not_removed: str = ""
    """Why heads cannot be taken out otherwise; see `stays`."""
    not_removed_if: tuple[str, object, str] | None = None
    """The same where the configuration says so: its field, the value, and why."""

    @property
    def stays(self) -> str:
        """Why heads cannot be taken out; empty where they can."""
        return self.not_removed or self.coupled


TALKING = "its heads mix their attention with each other's (talking_head in its configuration)"
NORM_OVER_ALL = "a norm runs over the queries and keys of all heads together"
BUILT_ANEW = "it builds its attention anew, from its configuration, for texts of another length"
ONE_SIZE = "its code has one size for its input and for its heads"
ONE_CONVOLUTION = "one convolution runs over all heads"
APPROXIMATE = "it approximates its attention"
IN_BLOCKS = "a long text is attended to in blocks"
RELATIVE = "relative positions take products of their own"
SHORTENED = "it shortens the text between layers"

BERT = Layout(
    pattern=r"encoder\.layer\.(\d+)\.attention",
    qkv="self.query self.key self.value",
    output="output.dense",
    core="self",
    counted_by="self.attention_head_size",
    counts_dimensions=True,
    counters=("num_attention_heads", "all_head_size"),
)
LLAMA = Layout(
    pattern=r"layers\.(\d+)\.self_attn",
    qkv="q_proj k_proj v_proj",
    output="o_proj",
    counted_by="head_dim",
    counts_dimensions=True,
    counters=("num_heads", "num_attention_heads", "num_key_value_heads"),
    stack="decoder",
)
BART = replace(LLAMA, output="out_proj", counters=("num_heads", "embed_dim", "num_attention_heads"))
GPT2 = Layout(
    pattern=r"h\.(\d+)\.attn",
    qkv="c_attn",
    output="c_proj",
    counted_by="num_heads",
    counters=("num_heads", "split_size"),
    stack="decoder",
)
BIGCODE = replace(GPT2, counters=("num_heads", "embed_dim", "kv_dim", "kv_heads"))
BLOOM = Layout(
    pattern=r"h\.(\d+)\.self_attention",
    qkv="query_key_value",
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
    LLAMA, qkv="q_b_proj|q_proj kv_b_proj kv_b_proj", interleaved=True, counted_by="v_head_dim", counters=("num_heads",)
)
DISTILBERT = Layout(
    pattern=r"transformer\.layer\.(\d+)\.attention",
    qkv="q_lin k_lin v_lin",
    output="out_lin",
    counted_by="attention_head_size",
    counts_dimensions=True,
    counters=("n_heads", "dim"),
)
XLM = replace(DISTILBERT, pattern=r"attentions\.(\d+)", counted_by="head_dim")
T5 = Layout(
    pattern=r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention",
    qkv="q k v",
    output="o",
    counted_by="key_value_proj_dim",
    counts_dimensions=True,
    counters=("n_heads", "inner_dim"),
    shared_biases=("position_bias",),
    n_outputs=0,  # the first layer computes the biases of all
)
MODERN = Layout(
    pattern=r"layers\.(\d+)\.attn",
    qkv="Wqkv",
    output="Wo",
    counted_by="head_dim",
    counts_dimensions=True,
    counters=("num_heads", "all_head_size"),
)

DEBERTA = replace(
    BERT,
    other_attention=RELATIVE,
    qkv="self.in_proj",
    interleaved=True,
    also=(("self.q_bias", 0), ("self.v_bias", 0), ("self.pos_proj", 0), ("self.pos_q_proj", 0)),
)


def encoder_decoder(layout: Layout, own: str = "self_attn", cross: str = "encoder_attn") -> tuple[Layout, ...]:
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
