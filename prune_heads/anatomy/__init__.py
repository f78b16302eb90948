"""What a model is: its attention blocks, the families we know, and how blocks compute that have lost heads."""

from prune_heads.anatomy.block import AttentionBlock, Projection, Unit, gone_from, head_counts, units
from prune_heads.anatomy.context import on_context, put, stay_dense, uncompiled
from prune_heads.anatomy.families import FAMILIES, UNKNOWN, Layout, describe_attention
from prune_heads.anatomy.locate import attention_blocks, models_inside
