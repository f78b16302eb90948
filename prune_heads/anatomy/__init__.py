"""What a model is: its attention blocks, the families we know, and the probe that proves that a gate bites."""

from prune_heads.anatomy.block import AttentionBlock, Unit, gone_from, has_groups, head_counts, shares_layers, units
from prune_heads.anatomy.families import FAMILIES, UNKNOWN
from prune_heads.anatomy.layout import Layout
from prune_heads.anatomy.locate import attention_blocks
from prune_heads.anatomy.own import describe_attention
from prune_heads.anatomy.projection import Projection
