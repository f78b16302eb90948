"""Every head on its own: exact logits under many masks, in far less time than one evaluation a mask."""

from prune_heads.ablation.engine import DEFAULT_MEMORY, ManyMasks, predict_masks
from prune_heads.ablation.kinds import KINDS, ablations
