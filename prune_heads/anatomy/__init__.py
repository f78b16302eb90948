"""What a model is: its attention blocks, the families we know, and the probe that proves that a gate bites."""

from prune_heads.anatomy.block import AttentionBlock, head_counts
from prune_heads.anatomy.families import FAMILIES, UNKNOWN
from prune_heads.anatomy.layout import Layout
from prune_heads.anatomy.locate import attention_blocks
from prune_heads.anatomy.own import describe_attention
from prune_heads.anatomy.projection import Projection

__all__ = [
    "FAMILIES",
    "UNKNOWN",
    "AttentionBlock",
    "Layout",
    "Projection",
    "attention_blocks",
    "describe_attention",
    "head_counts",
]
