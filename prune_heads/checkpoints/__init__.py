"""Checkpoints on disk: ordinary classifiers, and models whose heads have been removed."""

from prune_heads.checkpoints.classifier import BUILT_IN, Classifier, fingerprint, load_classifier
from prune_heads.checkpoints.linear_maps import kernels, use_onednn, use_pytorch
from prune_heads.checkpoints.pruned import HEADS_FILE, load_pruned, save_pruned, write_pruned

__all__ = [
    "BUILT_IN",
    "HEADS_FILE",
    "Classifier",
    "fingerprint",
    "kernels",
    "load_classifier",
    "load_pruned",
    "save_pruned",
    "use_onednn",
    "use_pytorch",
    "write_pruned",
]
