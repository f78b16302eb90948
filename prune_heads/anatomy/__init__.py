"""What a model is: its attention blocks, the families we know, and the probe that proves that a gate bites."""

from prune_heads.anatomy.block import AttentionBlock
from prune_heads.anatomy.families import FAMILIES, Family
from prune_heads.anatomy.locate import attention_blocks

__all__ = ["FAMILIES", "AttentionBlock", "Family", "attention_blocks"]
