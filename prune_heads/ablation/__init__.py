"""Every head on its own: exact logits under many masks, in far less time than one evaluation a mask."""

from prune_heads.ablation.engine import DEFAULT_MEMORY, KINDS, ManyMasks, ablations, predict_masks
