"""The files that a checkpoint's weights lie in: there once, whole, and holding numbers that can be computed with."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from prune_heads.errors import CheckpointError, some
from prune_heads.files import read_json

_NAMES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where weights may lie; transformers reads the first that is there."""


class _Stored(NamedTuple):
    """One tensor of a file, not read yet."""

    file: str
    dtype: str
    read: Callable[[], Tensor]


def check_weight_files(folder: Path | None, name: str) -> dict[str, str]:
    """Refuse weights that are stored twice and differently, or whose index names what is not there.

    Args:
        folder: Of the checkpoint, if it is known.
        name: Of the checkpoint, for messages.

    Returns:
        Name -> type of the tensors that transformers reads.

    Raises:
        CheckpointError: Naming the files and the weights.
    """
    if folder is None:
        return {}
    if (folder / "adapter_config.json").exists():
        raise CheckpointError(
            f"a checkpoint must hold its weights whole; {name} has an adapter (adapter_config.json), which would be "
            "left out. Merge it into the model (merge_and_unload of PEFT) and save the result"
        )
    there = [file for file in _NAMES if (folder / file).exists()]
    if not there:
        return {}
    used = _stored(folder, there[0], name)
    for other in there[1:]:
        _check_same(used, _stored(folder, other, name, whole=False), (there[0], other), name)
    return {key: tensor.dtype for key, tensor in used.items()}


def _stored(folder: Path, name: str, shown: str, *, whole: bool = True) -> dict[str, _Stored]:
    of = _index(folder, name, shown) if name.endswith(".index.json") else {}
    files = sorted(set(of.values())) or [name]
    there = [file for file in files if Path(file).name == file and (folder / file).is_file()]
    if whole and len(there) < len(files):
        raise CheckpointError(
            f"the files that {name} names must be in the folder; {shown} lacks {some(sorted({*files} - {*there}))}. "
            "Copy them there"
        )
    found: dict[str, _Stored] = {}
    for file in there:
        for key, tensor in _tensors(folder / file).items():
            if key in found and whole:
                raise CheckpointError(
                    f"each weight of a checkpoint must be stored once; {shown} has {key} in {found[key].file} and in "
                    f"{file}. Save the checkpoint anew"
                )
            found[key] = tensor
    if whole and (lacking := sorted(of.keys() - found.keys())):
        raise CheckpointError(f"{name} of {shown} names weights that no file holds: {some(lacking)}. Save it anew")
    return found


def _index(folder: Path, name: str, shown: str) -> dict[str, str]:
    of = read_json(folder / name, "the index of the weights").get("weight_map")
    if not isinstance(of, dict) or not of or not all(isinstance(file, str) for file in of.values()):
        raise CheckpointError(f"{name} of {shown} must say in 'weight_map' which file holds which weight")
    return of


def _tensors(file: Path) -> dict[str, _Stored]:
    if file.suffix != ".safetensors":
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written by a PyTorch that is too old for mmap, or damaged
            loaded = torch.load(file, map_location="cpu", weights_only=True)
        tensors = {key: tensor for key, tensor in loaded.items() if isinstance(tensor, Tensor)}
        return {key: _Stored(file.name, str(t.dtype), partial(_same, t)) for key, t in tensors.items()}
    with safe_open(file, "pt") as opened:
        types = {key: opened.get_slice(key).get_dtype() for key in opened.keys()}  # noqa: SIM118 (no mapping)
    return {key: _Stored(file.name, dtype, partial(_read, file, key)) for key, dtype in types.items()}


def _read(file: Path, key: str) -> Tensor:
    with safe_open(file, "pt") as opened:
        tensor: Tensor = opened.get_tensor(key)
    return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _check_same(used: Mapping[str, _Stored], other: Mapping[str, _Stored], names: Sequence[str], shown: str) -> None:
    """Files of one model may name tied weights differently, and be of another precision; no more."""
    differing = [key for key in used.keys() & other.keys() if not _equal(used[key], other[key])]
    if differing or (other and not used.keys() & other.keys()):
        raise CheckpointError(
            f"the weights of a checkpoint must be stored once, or twice alike; {shown} has other ones in "
            f"{names[0]} than in {names[1]}: {some(sorted(differing or other))}. Delete the file "
            "that is not the model's"
        )


def _equal(one: _Stored, other: _Stored) -> bool:
    first, second = one.read(), other.read()
    narrower = min(first.dtype, second.dtype, key=lambda dtype: dtype.itemsize)
    return first.shape == second.shape and torch.equal(first.to(narrower), second.to(narrower))
