"""Train a shipped checkpoint again: `python -m experiments.mini.train mini-inference FOLDER`.

Each epoch sees fresh examples: the training split of the grammar with the number of the epoch as seed. The same
machine gives the same bytes; processors may differ in rounding.
"""

import sys
from functools import partial
from pathlib import Path

from experiments.mini.grammar import SPLITS, generate
from prune_heads.studies.train_mini import train


def main(task: str, folder: str) -> None:
    """Train and write the checkpoint."""
    train(task, Path(folder), examples=partial(generate, task, "train"))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in SPLITS:
        raise SystemExit(f"usage: python -m experiments.mini.train {'|'.join(SPLITS)} FOLDER")
    main(*sys.argv[1:])
