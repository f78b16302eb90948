"""What a job leaves in its output folder beside its record."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.anatomy import AttentionBlock, head_counts
from prune_heads.checkpoints import write_pruned, write_tokenizer
from prune_heads.files import write_json
from prune_heads.importance import GateGradients
from prune_heads.reporting.figures import heat_map, save
from prune_heads.runs import SCORES_FILE
from prune_heads.studies.scoring import ScoreResult

HEADS_FILE = "heads.json"
TABLE_FILE = "table.md"
GRADIENTS_FILE = "gradients.safetensors"
CHECKPOINT_FOLDER = "checkpoint"


def write_scores(scored: ScoreResult, folder: Path, *, pruned: list[str] | None = None) -> None:
    """Write scores, their heat map and, where there is one, the matrix of gradients they come from."""
    report = scored.report()
    write_json(folder / SCORES_FILE, report)
    save(heat_map(report, pruned or ()), folder, "scores")
    if scored.gradients is not None:
        _write_gradients(scored.gradients, scored.blocks, folder / GRADIENTS_FILE)


def write_checkpoint(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the model and its tokenizer into the folder's `checkpoint`."""
    (folder / CHECKPOINT_FOLDER).mkdir()
    write_pruned(model, folder / CHECKPOINT_FOLDER)
    write_tokenizer(tokenizer, folder / CHECKPOINT_FOLDER)


def _write_gradients(gradients: GateGradients, blocks: list[AttentionBlock], target: Path) -> None:
    """The matrix (examples x heads), in safetensors; its metadata name the heads of the columns, from 1."""
    names = head_counts(blocks).names()
    heads = [
        f"{name}:{head + 1}"
        for name, block in zip(names, blocks, strict=True)
        for head in block.original_heads
    ]
    tensors: dict[str, NDArray[Any]] = {
        "signed": gradients.signed,
        "absolute": gradients.absolute,
        "n_tokens": np.asarray(gradients.n_tokens),
    }
    save_file(tensors, target, metadata={"heads": " ".join(heads)})
