"""What a model is: its attention blocks, the families we know, and the probe that proves that a gate bites."""

from prune_heads.anatomy.block import AttentionBlock as AttentionBlock
from prune_heads.anatomy.block import Unit as Unit
from prune_heads.anatomy.block import gone_from as gone_from
from prune_heads.anatomy.block import has_groups as has_groups
from prune_heads.anatomy.block import head_counts as head_counts
from prune_heads.anatomy.block import shares_layers as shares_layers
from prune_heads.anatomy.block import units as units
from prune_heads.anatomy.families import FAMILIES as FAMILIES
from prune_heads.anatomy.families import UNKNOWN as UNKNOWN
from prune_heads.anatomy.layout import Layout as Layout
from prune_heads.anatomy.locate import attention_blocks as attention_blocks
from prune_heads.anatomy.own import describe_attention as describe_attention
from prune_heads.anatomy.projection import Projection as Projection
