"""Checkpoints of models whose heads have been removed: safetensors, and `heads.json` that says which."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from prune_heads.anatomy import attention_blocks, head_counts
from prune_heads.checkpoints.fit import check_weights, read_config
from prune_heads.checkpoints.loading import reading
from prune_heads.checkpoints.quiet import quiet_transformers
from prune_heads.checkpoints.weight_files import check_weight_files
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
    shown = copy.copy(model)  # the same weights; what transformers notes on a model that it saves, it notes here
    shown.config = copy.copy(model.config)
    # Tables that transformers leaves out and computes anew, which need not be those that were loaded.
    vars(shown)["_keys_to_ignore_on_save"] = None
    with quiet_transformers():
        shown.save_pretrained(folder)
    if removed := removed_heads(model):
        blocks = [block.describe() for block in attention_blocks(model)]
        write_json(folder / HEADS_FILE, {"format": 1, **removed.to_json(), "blocks": blocks})
        write_text(folder / "README.md", _README.format(heads=removed))


def load_pruned(directory: str | Path, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load a checkpoint folder, with its removed heads if it has any, in evaluation mode.

    Reads what `save_pruned` has written, what `save_pretrained` (or a Trainer) has written of a model after
    `remove_heads`, what transformers 4 has pruned, and ordinary checkpoints: zeroed or untouched.

    Args:
        directory: The checkpoint's folder.
        dtype: Of the parameters; None keeps the saved one.

    Raises:
        CheckpointError: If the folder, a file or a weight is missing, damaged, or does not fit the others.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"a checkpoint must be an existing folder; there is none at {directory}")
    try:
        with reading(directory, directory.name, trust_remote_code=False):
            return _load(directory, dtype)
    except CheckpointError:
        raise
    except PruneHeadsError as error:
        raise CheckpointError(f"the checkpoint {directory.name} cannot be loaded: {error}") from error


def has_removed_heads(directory: Path) -> bool:
    """Whether a checkpoint is narrower than its configuration: ours, or one that transformers 4 has pruned."""
    return (directory / HEADS_FILE).exists() or bool(_heads_in_config(directory))


def _heads_in_config(directory: Path) -> dict[int, list[int]]:
    """Block -> heads, both from 0: what `remove_heads` and transformers 4 note, and transformers 5 ignores."""
    if not (directory / "config.json").exists():
        return {}
    pruned = read_json(directory / "config.json", "the configuration").get("pruned_heads") or {}
    return {int(block): [int(head) for head in heads] for block, heads in pruned.items() if heads}


def _removed_from(directory: Path) -> Heads:
    if (directory / HEADS_FILE).exists():
        return HeadMask.from_json(read_json(directory / HEADS_FILE, "the list of removed heads"))
    return _heads_in_config(directory)


def _load(directory: Path, dtype: torch.dtype | None) -> PreTrainedModel:
    heads, (config, _) = _removed_from(directory), read_config(directory, directory.name, {})
    vars(config).pop("pruned_heads", None)  # `remove_heads` notes them again
    names = config.architectures or []
    model_class = getattr(transformers, names[0], None) if names else None
    if not (isinstance(model_class, type) and issubclass(model_class, PreTrainedModel)):
        raise CheckpointError(
            f"config.json of {directory.name} must name its class in 'architectures'; got {json.dumps(names)}"
        )
    stored = check_weight_files(directory, directory.name)
    if not stored:
        raise CheckpointError(f"the checkpoint {directory.name} must hold safetensors; there are none")
    with torch.random.fork_rng(devices=[]):  # weights that are missing are drawn, and refused below
        model, info = _without(model_class, heads).from_pretrained(
            directory, config=config, dtype=dtype or "auto", output_loading_info=True, ignore_mismatched_sizes=True
        )
    model.__class__ = model_class
    files = f"config.json and {HEADS_FILE}" if heads else "config.json"
    check_weights(model, info, directory.name, stored=stored, files=files)
    checked: PreTrainedModel = model.eval()
    return checked


def _without(model_class: type[PreTrainedModel], heads: Heads) -> type[PreTrainedModel]:
    """The class whose models have lost these heads when transformers comes to fill them with weights."""

    def build(self: PreTrainedModel, config: Any) -> None:
        model_class.__init__(self, config)
        n_heads = head_counts(attention_blocks(self))
        if isinstance(heads, HeadMask) and n_heads != heads.n_heads:
            raise HeadDescriptorError(
                f"{HEADS_FILE} is for {list(heads.n_heads)} heads a block; the configuration has {list(n_heads)}"
            )
        remove_heads(self, heads)

    if not heads:  # also of types whose heads are not known
        return model_class
    return type(model_class.__name__, (model_class,), {"__init__": build, "__module__": model_class.__module__})
