"""Where the attention of each model family is. Data: a new family is a new row, not a new branch."""

from collections.abc import Mapping
from dataclasses import dataclass

from prune_heads.anatomy.block import Kind, Stack


@dataclass(frozen=True)
class Family:
    """How to find the attention blocks of a model type and the four projections inside."""

    pattern: str
    """Regular expression that a module path must end with; its one group is the layer, from 0."""
    query: str
    """Path of W_Q from the block; rows = heads x head_dim."""
    key: str
    value: str
    output: str
    """Path of W_O from the block; columns = heads x head_dim."""
    n_heads: str
    """Name in the configuration of the number of heads."""
    counters: tuple[tuple[str, bool], ...]
    """Attributes, from the block, that hold the head count; True where they count dimensions instead."""
    kind: Kind = "self"
    stack: Stack = "encoder"


_BERT = Family(
    pattern=r"encoder\.layer\.(\d+)\.attention",
    query="self.query",
    key="self.key",
    value="self.value",
    output="output.dense",
    n_heads="num_attention_heads",
    counters=(("self.num_attention_heads", False), ("self.all_head_size", True)),
)

_DISTILBERT = Family(
    pattern=r"transformer\.layer\.(\d+)\.attention",
    query="q_lin",
    key="k_lin",
    value="v_lin",
    output="out_lin",
    n_heads="n_heads",
    counters=(("n_heads", False), ("dim", True)),
)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "camembert": _BERT,
    "data2vec-text": _BERT,
    "distilbert": _DISTILBERT,
    "electra": _BERT,
    "ernie": _BERT,
    "esm": _BERT,
    "layoutlm": _BERT,
    "markuplm": _BERT,
    "megatron-bert": _BERT,
    "rembert": _BERT,
    "roberta": _BERT,
    "roberta-prelayernorm": _BERT,
    "roc_bert": _BERT,
    "xlm-roberta": _BERT,
    "xlm-roberta-xl": _BERT,
    "xmod": _BERT,
}
"""transformers' `model_type` -> where its heads are."""
