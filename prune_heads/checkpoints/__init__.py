"""Checkpoints on disk: classifiers, language models, and models whose heads have been removed."""

from prune_heads.checkpoints.exported import Exported
from prune_heads.checkpoints.head import CLASSIFICATION, Head, HeadOf, classification_head, language_model_head
from prune_heads.checkpoints.linear_maps import kernels, use_onednn, use_pytorch
from prune_heads.checkpoints.loader import Checkpoint, fingerprint, load_checkpoint
from prune_heads.checkpoints.loading import BUILT_IN, folder_name
from prune_heads.checkpoints.pruned import HEADS_FILE, load_pruned, save_pruned, write_pruned
from prune_heads.checkpoints.tokenizer import write_tokenizer
