"""Checkpoints on disk: classifiers, language models, and models whose heads have been removed."""

from prune_heads.checkpoints.fit import check_problem
from prune_heads.checkpoints.head import (
    CLASSIFICATION,
    Head,
    HeadOf,
    classification_head,
    language_model_head,
)
from prune_heads.checkpoints.language_model import IGNORED, LanguageModel, Objective
from prune_heads.checkpoints.linear_maps import kernels, use_onednn, use_pytorch
from prune_heads.checkpoints.loader import (
    Checkpoint,
    Classifier,
    fingerprint,
    load_checkpoint,
    load_classifier,
    load_language_model,
)
from prune_heads.checkpoints.loading import BUILT_IN, folder_name
from prune_heads.checkpoints.pruned import HEADS_FILE, load_pruned, save_pruned, write_pruned
from prune_heads.checkpoints.tokenizer import write_tokenizer
from prune_heads.checkpoints.translating import how_it_writes, translate

__all__ = [
    "BUILT_IN",
    "CLASSIFICATION",
    "HEADS_FILE",
    "IGNORED",
    "Checkpoint",
    "Classifier",
    "Head",
    "HeadOf",
    "LanguageModel",
    "Objective",
    "check_problem",
    "classification_head",
    "fingerprint",
    "folder_name",
    "how_it_writes",
    "kernels",
    "language_model_head",
    "load_checkpoint",
    "load_classifier",
    "load_language_model",
    "load_pruned",
    "save_pruned",
    "translate",
    "use_onednn",
    "use_pytorch",
    "write_pruned",
    "write_tokenizer",
]
