"""Checkpoints of models whose heads have been removed: safetensors, and `heads.json` that says which."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, GenerationConfig, PreTrainedModel
from transformers.utils import GENERATION_CONFIG_NAME

from prune_heads.anatomy import attention_blocks, head_counts
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.errors import CheckpointError, HeadDescriptorError, PruneHeadsError
from prune_heads.files import new_directory, read_json, write_json, write_text
from prune_heads.heads import HeadMask, Heads
from prune_heads.surgery import remove_heads, removed_heads

HEADS_FILE = "heads.json"

_README = """# A model with attention heads removed

Heads removed (layer:heads, from 1): {heads}

Its attention layers are narrower than its `config.json` says, so plain `from_pretrained` fails with a size
mismatch. Load it with

    from prune_heads import load_pruned
    model = load_pruned("this folder")

or name this folder as `--model` of `prune-heads evaluate`. `heads.json` says which heads are gone.
"""


def save_pruned(model: PreTrainedModel, directory: str | Path) -> None:
    """Save a model, with its removed heads if it has any, so that `load_pruned` brings it back.

    A model without removed heads (also one with zeroed heads) is an ordinary checkpoint for transformers.

    Raises:
        CheckpointError: If the folder exists and is not empty.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CheckpointError(f"a checkpoint must go into a new or empty folder; {directory} is neither")
    with new_directory(directory) as folder:
        write_pruned(model, folder)


def write_pruned(model: PreTrainedModel, folder: Path) -> None:
    """`save_pruned` into a folder that exists, as one part of what is being written there."""
    removed = removed_heads(model)
    if removed:
        _write_removed(model, removed, folder)
        return
    with quiet_transformers():
        model.save_pretrained(folder)


def _write_removed(model: PreTrainedModel, removed: HeadMask, folder: Path) -> None:
    """Weights under the names that the model itself gives them; `save_pretrained` renames some for old readers."""
    config = copy.deepcopy(model.config)
    config.architectures, config.dtype = [type(model).__name__], model.dtype
    config.save_pretrained(folder)
    if model.can_generate():  # which tokens begin and end what it writes, and which are forbidden
        model.generation_config.save_pretrained(folder)
    tied = _tied(model)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    blocks = [block.describe() for block in attention_blocks(model)]
    write_json(folder / HEADS_FILE, {"format": 1, **removed.to_json(), "blocks": blocks})
    write_text(folder / "README.md", _README.format(heads=removed))


def load_pruned(directory: str | Path, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load what `save_pruned` has written, in evaluation mode.

    Args:
        directory: The checkpoint's folder.
        dtype: Of the parameters; None keeps the saved one.

    Raises:
        CheckpointError: If the folder, a file or a weight is missing, damaged, or does not fit the others.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"a checkpoint must be an existing folder; there is none at {directory}")
    if not has_removed_heads(directory):
        raise CheckpointError(
            f"a checkpoint with removed heads must hold {HEADS_FILE}; {directory.name} does not: it is an "
            "ordinary checkpoint, load it with from_pretrained"
        )
    try:
        if (directory / HEADS_FILE).exists():
            return _load(directory, HeadMask.from_json(_heads_file(directory)), dtype)
        return _load(directory, _old_heads(directory), dtype)
    except CheckpointError:
        raise
    except (PruneHeadsError, OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint {directory.name} cannot be loaded: {error}") from error


def has_removed_heads(directory: Path) -> bool:
    """Whether a checkpoint is narrower than its configuration: ours, or one that transformers 4 has pruned."""
    return (directory / HEADS_FILE).exists() or bool(_old_heads(directory))


def _heads_file(directory: Path) -> dict[str, Any]:
    return read_json(directory / HEADS_FILE, "the list of removed heads")


def _old_heads(directory: Path) -> dict[int, list[int]]:
    """Layer -> heads, both from 0: what transformers 4 put into the configuration and transformers 5 ignores."""
    if not (directory / "config.json").exists():
        return {}
    pruned = read_json(directory / "config.json", "the configuration").get("pruned_heads") or {}
    return {int(layer): [int(head) for head in heads] for layer, heads in pruned.items() if heads}


def _load(directory: Path, heads: Heads, dtype: torch.dtype | None) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(directory)
    vars(config).pop("pruned_heads", None)  # said by heads.json from now on
    names = config.architectures or []
    model_class = getattr(transformers, names[0], None) if names else None
    if not (isinstance(model_class, type) and issubclass(model_class, PreTrainedModel)):
        raise CheckpointError(
            f"config.json of {directory.name} must name its class in 'architectures'; got {json.dumps(names)}"
        )
    tensors = _tensors(directory)
    if not tensors:
        raise CheckpointError(f"the checkpoint {directory.name} must hold safetensors; there are none")
    dtype = dtype or next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten below
        model: PreTrainedModel = model_class(config)
    n_heads = head_counts(attention_blocks(model))
    if isinstance(heads, HeadMask) and n_heads != heads.n_heads:
        raise HeadDescriptorError(
            f"{HEADS_FILE} is for {list(heads.n_heads)} heads a block; the configuration has {list(n_heads)}"
        )
    remove_heads(model, heads)
    model.to(dtype)
    _fill(model, tensors, directory.name)
    if (directory / GENERATION_CONFIG_NAME).exists() and model.can_generate():
        model.generation_config = GenerationConfig.from_pretrained(directory)
    return model.eval()


def _tensors(directory: Path) -> dict[str, torch.Tensor]:
    """All weights in the folder; from a pickle, as transformers 4 wrote them, tensors alone are taken."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        found |= load_file(file)
    for file in sorted(directory.glob("pytorch_model*.bin")) if not found else ():
        found |= torch.load(file, map_location="cpu", weights_only=True)
    return found


def _fill(model: PreTrainedModel, tensors: dict[str, torch.Tensor], name: str) -> None:
    """Put every weight in its place; none may be missing, left over or of another shape."""
    own = model.state_dict()
    missing = sorted(own.keys() - tensors.keys() - _tied(model))
    unexpected = sorted(tensors.keys() - own.keys())
    misshapen = sorted(key for key in own.keys() & tensors.keys() if own[key].shape != tensors[key].shape)
    if missing or unexpected or misshapen:
        raise CheckpointError(
            f"the weights of {name} must fit its configuration and {HEADS_FILE}; "
            f"missing: {missing[:3]}, left over: {unexpected[:3]}, of another shape: {misshapen[:3]}"
        )
    nn.Module.load_state_dict(model, tensors, strict=False)
    model.tie_weights()


def _tied(model: PreTrainedModel) -> set[str]:
    """Names of weights that are other weights under a second name."""
    return set(getattr(model, "all_tied_weights_keys", None) or ())
