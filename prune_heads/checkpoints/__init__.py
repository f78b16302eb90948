"""Checkpoints on disk: classifiers, language models, and models whose heads have been removed."""

from prune_heads.checkpoints.classifier import (
    Classifier,
    fingerprint,
    load_classifier,
    load_language_model,
)
from prune_heads.checkpoints.fit import check_problem
from prune_heads.checkpoints.language_model import IGNORED, LanguageModel, Objective
from prune_heads.checkpoints.linear_maps import kernels, use_onednn, use_pytorch
from prune_heads.checkpoints.loading import BUILT_IN, folder_name
from prune_heads.checkpoints.pruned import HEADS_FILE, load_pruned, save_pruned, write_pruned
from prune_heads.checkpoints.tokenizer import write_tokenizer
from prune_heads.checkpoints.translating import how_it_writes, translate

__all__ = [
    "BUILT_IN",
    "HEADS_FILE",
    "IGNORED",
    "Classifier",
    "LanguageModel",
    "Objective",
    "check_problem",
    "fingerprint",
    "folder_name",
    "how_it_writes",
    "kernels",
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
