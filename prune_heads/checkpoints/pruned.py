"""Checkpoints of models whose heads have been removed: safetensors, and `heads.json` that says which; and back."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

from prune_heads.anatomy import attention_blocks, head_counts
from prune_heads.checkpoints.fit import check_weight_files, check_weights, read_config
from prune_heads.checkpoints.head import TABLE, UNUSED, Head
from prune_heads.checkpoints.int8 import read_int8
from prune_heads.checkpoints.loading import INT8_FILE, folder_of, quiet_transformers, reading
from prune_heads.errors import CheckpointError, HeadDescriptorError
from prune_heads.files import new_directory, read_json, write_json, write_text
from prune_heads.heads import HeadMask, Heads
from prune_heads.surgery import remove_heads, removed_heads, zero_heads

HEADS_FILE = "heads.json"
Draw = Callable[[PreTrainedModel, dict[str, Any]], set[str]]  # draws what is lacking; gives the names of the weights


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
        write_text(folder / "README.md", TABLE["readme"].format(heads=removed))


def load_pruned(directory: str | Path, *, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load a checkpoint folder, with its removed heads if it has any, in evaluation mode.

    Reads what `save_pruned` has written, what `save_pretrained` (or a Trainer) has written of a model after
    `remove_heads`, what transformers 4 has pruned, ordinary checkpoints: zeroed or untouched, and 8-bit weights that
    `prune-heads export --to torch-int8` has written, which compute in float32 beside them.

    Args:
        directory: The checkpoint's folder.
        dtype: Of the parameters; None keeps the saved one. Not of 8-bit weights.

    Raises:
        CheckpointError: If the folder, a file or a weight is missing, damaged, or does not fit the others.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise CheckpointError(f"a checkpoint must be an existing folder; there is none at {folder}")
    with reading(folder, folder.name) as where, torch.random.fork_rng(devices=[]):
        config, _ = read_config(folder, folder.name, where)
        if (folder / INT8_FILE).is_file() and not check_weight_files(folder, folder.name):
            return read_int8(built(folder, folder.name, config), folder)
        model, _ = read_model(folder, folder.name, config, Head("", unused=UNUSED), dtype or "auto", where)
    return model.eval()


def read_model(
    source: Path | str,
    name: str,
    config: PreTrainedConfig,
    head: Head,
    dtype: torch.dtype | str,
    where: dict[str, Any],
    *,
    draw: Draw | None = None,
) -> tuple[PreTrainedModel, set[str]]:
    """A model whose weights fit, and the names of those that `draw` has drawn, given what transformers lacks.

    Its class is what the head says; where no head is known, or heads have been removed and none is drawn, what the
    configuration says.
    """
    folder = source if isinstance(source, Path) else None
    stored, files = check_weight_files(folder, name), "config.json"
    if folder is not None and not stored:
        must = f"a checkpoint folder must hold its weights (model.safetensors); {name} has none"
        raise CheckpointError(f"{must}. Copy them beside config.json, or write the folder again")
    heads = {} if folder is None else heads_gone(folder)
    model_class: Any = getattr(transformers, head.auto, None)
    if heads and draw is not None:  # the class that gets a new head, which need not be the one that was saved
        found = model_class._model_mapping.get(type(config), ())
        model_class = found if isinstance(found, type) else next(iter(found), None)
        if model_class is None:
            must = f"the type of {name} ({config.model_type}) must have a class that {head.auto} builds"
            raise CheckpointError(f"{must}; transformers has none. Name another model")
    elif heads or not head.auto:
        model_class = _named_class(config, name)
    if heads:
        vars(config).pop("pruned_heads", None)  # `remove_heads` notes them again
        files = f"{files} and {HEADS_FILE}"
    model, info = (_without(model_class, heads) if heads else model_class).from_pretrained(
        source, config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **where
    )
    if heads:
        model.__class__ = model_class
    stored = stored or check_weight_files(folder_of(source), name)  # of the hub there are none before
    drawn = draw(model, info) if draw is not None else set[str]()
    check_weights(model, info, name, head, stored, drawn=drawn, files=files)
    return model, drawn


def built(folder: Path, name: str, config: PreTrainedConfig) -> PreTrainedModel:
    """A model of the shapes of a checkpoint, without the heads that it has lost; its weights are yet to come."""
    model_class, heads = _named_class(config, name), heads_gone(folder)
    vars(config).pop("pruned_heads", None)  # `remove_heads` notes them again
    model = _without(model_class, heads)(config)
    model.__class__ = model_class
    return model.eval()


def _named_class(config: PreTrainedConfig, name: str) -> type[PreTrainedModel]:
    named = (config.architectures or [""])[0]
    model_class = getattr(transformers, named, None)
    if isinstance(model_class, type) and issubclass(model_class, PreTrainedModel):
        return model_class
    raise CheckpointError(f"config.json of {name} must name its class in 'architectures'; got {named!r}")


def heads_gone(directory: Path) -> Heads:
    """The heads without which a checkpoint is narrower than its configuration; empty where it is not.

    By our file, or by what `remove_heads` and transformers 4 note (block -> heads, from 0) and transformers 5 ignores.
    """
    if (directory / HEADS_FILE).exists():
        return HeadMask.from_json(read_json(directory / HEADS_FILE, "the list of removed heads"))
    if not (directory / "config.json").exists():
        return {}
    pruned = read_json(directory / "config.json", "the configuration").get("pruned_heads") or {}
    return {int(block): [int(head) for head in heads] for block, heads in pruned.items() if heads}


def _without(model_class: type[PreTrainedModel], heads: Heads) -> type[PreTrainedModel]:
    """The class whose models have lost these heads when transformers comes to fill them with weights."""

    def build(self: PreTrainedModel, config: Any) -> None:
        model_class.__init__(self, config)
        n_heads = head_counts(attention_blocks(self))
        if isinstance(heads, HeadMask) and n_heads != heads.n_heads:
            said = f"is for {list(heads.n_heads)} heads a block; the configuration has {list(n_heads)}"
            raise HeadDescriptorError(f"{HEADS_FILE} {said}")
        remove_heads(self, heads)

    return type(model_class.__name__, (model_class,), {"__init__": build, "__module__": model_class.__module__})


def dense_model(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the original shapes that computes what a model with removed heads computes, for plain transformers.

    Where an element of a narrow weight belongs is not worked out a second time: `zero_heads` zeroes the same heads in a
    model whose weights are all 1, and the ones that are left tell. So it holds for every layout.

    Args:
        model: With or without removed heads; it stays as it is.

    Returns:
        Another model, on the CPU and in evaluation mode, every weight of its old dtype; zero where heads were.

    Raises:
        CheckpointError: If a weight does not have the shape that removing these heads leaves.
    """
    config = copy.deepcopy(model.config)
    vars(config).pop("pruned_heads", None)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten below
        dense = type(model)(config)
    # Tables that transformers leaves out and computes anew, which need not be those that were loaded.
    vars(dense)["_keys_to_ignore_on_save"] = None
    for weight in dense.parameters():
        weight.data.fill_(1)
    zero_heads(dense, removed_heads(model))
    own = {id(weight) for weight in dense.parameters()}
    weights, narrow = dense.state_dict(keep_vars=True), model.state_dict()
    left = {name: x.detach().bool() if id(x) in own else torch.ones(x.shape).bool() for name, x in weights.items()}
    for name, tensor in weights.items():
        came = narrow[name].cpu() if name in narrow else torch.empty(0)
        if came.numel() != left[name].sum():
            wanted = f"{tuple(tensor.shape)}{'' if left[name].all() else ' without the heads'}"
            must = f"the weights must have the shapes that removing heads leaves; {name} must be {wanted}"
            raise CheckpointError(f"{must}, got {tuple(came.shape)}. Name a checkpoint of 'prune-heads prune'")
        tensor.data = torch.zeros(tensor.shape, dtype=came.dtype).masked_scatter_(left[name], came)
    return dense.eval()
