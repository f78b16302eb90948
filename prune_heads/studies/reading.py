"""What people name or have in files, read for a model: heads, scores, and means that may stand in for heads."""

from pathlib import Path

import torch
from torch import Tensor, nn

from prune_heads.anatomy import attention_blocks
from prune_heads.checkpoints import fingerprint
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import HeadDescriptorError, RunError
from prune_heads.files import read_json
from prune_heads.heads import HeadMask, HeadScores


def read_heads(heads: str, n_heads: HeadCounts) -> HeadMask:
    """A mask from a descriptor (`3:1,5`, from 1) or from the path of a `heads.json`.

    A `HeadDescriptorError` if it cannot be read or belongs to another model; a `RunError` if the file is not JSON.
    """
    if heads.endswith(".json"):
        mask = HeadMask.from_json(read_json(Path(heads), "a file of heads"))
        if mask.n_heads != n_heads:
            must = f"{Path(heads).name} must be for this model, with {list(n_heads)} heads a layer"
            raise HeadDescriptorError(f"{must}; it is for {list(mask.n_heads)}")
        return mask
    return HeadMask.parse(heads, n_heads)


def read_scores(path: Path, n_heads: tuple[int, ...]) -> HeadScores:
    """The scores in a `scores.json` of a model with so many heads a block.

    A `RunError` if the file cannot be read or belongs to another model.
    """
    try:
        scores = HeadScores.from_json(read_json(path, "a file of scores"))
    except (KeyError, TypeError, ValueError) as error:
        what = "a file of scores must be what 'prune-heads score --output' writes"
        raise RunError(f"{what}; {path.name} is not: {error}") from error
    if scores.n_heads != n_heads:
        there = list(scores.n_heads)
        raise RunError(f"the scores must be of this model, with {list(n_heads)} heads a layer; {path.name} has {there}")
    return scores


def read_means(path: Path, model: nn.Module) -> list[Tensor | None]:
    """The means of heads in a `scores.json`, a block each; a `RunError` if there are none, or of another model."""
    found = read_json(path, "a file of scores").get("means")
    must = f"--replace mean needs what 'prune-heads score --replace mean --output' writes of this model; {path.name}"
    if not isinstance(found, dict) or found.get("model") != fingerprint(model):
        raise RunError(f"{must} {'has no means' if found is None else 'is of other weights, or another --dtype'}")
    try:
        means = [None if row is None else torch.tensor(row, dtype=torch.float64) for row in found["of"]]
        for block, mean in zip(attention_blocks(model), means, strict=True):
            if mean is not None and (mean.shape != (block.n_heads * block.head_dim,) or not mean.isfinite().all()):
                raise ValueError(f"the row of {block.name} has another length, or is not finite")
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{must} is damaged: {error}") from error
    return means
