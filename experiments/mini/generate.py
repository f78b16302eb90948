"""Write the examples of the built-in suite into the package: `python -m experiments.mini.generate`."""

import json
import lzma
from pathlib import Path

from experiments.mini.grammar import SPLITS, generate

DATA = Path(__file__).parents[2] / "prune_heads" / "mini" / "data"


def json_lines(task: str, split: str) -> bytes:
    """The split as the package ships it, before compression: one JSON object a line."""
    columns = generate(task, split)
    rows = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def main() -> None:
    """Write all splits."""
    for task, splits in SPLITS.items():
        (DATA / task).mkdir(parents=True, exist_ok=True)
        for split in splits:
            (DATA / task / f"{split}.jsonl.xz").write_bytes(lzma.compress(json_lines(task, split), preset=9))


if __name__ == "__main__":
    main()
