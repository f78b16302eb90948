"""The built-in offline suite as data: small GLUE-style tasks from a grammar, and checkpoints trained on them.

`experiments/mini` of the repository holds the grammar and the scripts that made both. `data/TASK/SPLIT.jsonl.xz` has
an example a line; `checkpoints/TASK` is what `--model mini` loads.
"""

import json
import lzma
from importlib import resources


def read(task: str, split: str) -> dict[str, list]:
    """One split of a task of `prune_heads.objectives.MINI`, in file order.

    Returns:
        Columns of equal length: `text`, for pairs `text_pair`, and for tasks with labels `label`, the indices of the
        label names.
    """
    file = resources.files("prune_heads.mini") / "data" / task / f"{split}.jsonl.xz"
    rows = [json.loads(line) for line in lzma.decompress(file.read_bytes()).splitlines()]
    return {name: [row[name] for row in rows] for name in rows[0]}
