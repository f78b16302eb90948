"""Examples as a model takes them: tokens in batches, with labels or with tokens to predict."""

from prune_heads.batching.batches import Batch, Batches, tokenize
from prune_heads.batching.loaded import LoadedBatches, loaded
from prune_heads.batching.targets import Side, Targets
from prune_heads.batching.texts import tokenize_texts
from prune_heads.batching.translation import Translation

__all__ = [
    "Batch",
    "Batches",
    "LoadedBatches",
    "Side",
    "Targets",
    "Translation",
    "loaded",
    "tokenize",
    "tokenize_texts",
]
