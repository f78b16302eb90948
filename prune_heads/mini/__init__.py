"""The built-in offline suite: small GLUE-style tasks from a grammar, and checkpoints trained on them."""

from prune_heads.mini.grammar import SPLITS as SPLITS
from prune_heads.mini.grammar import TASKS as TASKS
from prune_heads.mini.grammar import generate as generate
