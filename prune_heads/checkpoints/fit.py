"""Checks that the configuration, the weights and the head of a checkpoint fit each other and the task.

transformers loads what it can: it draws missing weights, leaves others out, reads integers as weights. Whatever would
change a result is refused here by name, as a `CheckpointError`.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from prune_heads.checkpoints.head import CAUSAL, Head
from prune_heads.errors import CheckpointError, some
from prune_heads.files import read_json

# Types of plain numbers, as safetensors and PyTorch write them.
_COMPUTED = {"F64", "F32", "F16", "BF16", *(f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16"))}
_Stored = dict[str, tuple[str, Callable[[], Tensor]]]  # name of a tensor in a file -> its type, and what reads it
_PROBLEMS = (None, "single_label_classification", "multi_label_classification", "regression")
# Where weights may lie; transformers reads the first that is there.
_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def read_config(source: Path | str, name: str, where: Mapping[str, Any]) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """The configuration, as transformers takes it and as config.json has it, without contradictions."""
    raw, _ = PreTrainedConfig.get_config_dict(source, **where)
    for entry, must in _faults(raw):
        came = repr(raw.get(entry))[:80]
        raise CheckpointError(f"{entry} in config.json of {name} must {must}; got {came}. Correct it")
    return AutoConfig.from_pretrained(source, **where), raw


def _faults(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Entries of config.json that contradict others or would be ignored, with what they must do."""
    classes, names, ids = raw.get("architectures"), raw.get("id2label"), raw.get("label2id")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(each, str) for each in classes)):
        yield "architectures", "be a list of names of classes, such as ['BertForSequenceClassification']"
    if raw.get("problem_type") not in _PROBLEMS:
        yield "problem_type", f"be null or one of {', '.join(map(str, _PROBLEMS[1:]))}"
    parts = (raw, *(value for value in raw.values() if isinstance(value, dict)))
    if any(part.get("quantization_config") or part.get("compression_config") for part in parts):
        exact = "heads of quantised weights are neither gated nor removed exactly (dequantise the model and save it)"
        yield "quantization_config", f"be absent, for {exact}"
    is_encoder = raw.get("model_type") in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if raw.get("is_decoder") and is_encoder and not CAUSAL & set(classes or ()):
        yield "is_decoder", "be false, for as a decoder each token would see those before it alone"
    if names is not None and not (isinstance(names, dict) and all(re.fullmatch("[0-9]+", str(key)) for key in names)):
        yield "id2label", 'map numbers from 0 to names, such as {"0": "negative", "1": "positive"}'
    if names is not None and raw.get("num_labels") not in (None, len(names)):
        yield "num_labels", f"be the number of labels that id2label names, {len(names)}"
    if names is not None and not isinstance(ids, dict | None):
        yield "label2id", 'map names to numbers, such as {"negative": 0, "positive": 1}'
    for key, label in (names or {}).items():
        if (ids or {}).get(str(label), int(key)) not in (int(key), key):
            yield "label2id", f"agree with id2label, where {label} is {key}"


def check_class(config: PreTrainedConfig, raw: Mapping[str, Any], name: str, head: Head) -> None:
    """Refuse a configuration (`raw` as config.json has it) that names a class with another head."""
    remote = str((raw.get("auto_map") or {}).get(head.auto, "")).split(".")[-1]
    for named in config.architectures or ():
        if head.suffix not in named and named not in (remote, *modeling_auto.MODEL_MAPPING_NAMES.values()):
            must = f"a checkpoint must have a trained {head.name}; {name} is of another class ({named})"
            raise CheckpointError(f"{must}. {head.cure}, or name its class ...For{head.suffix} in its config.json")


def check_weights(
    model: PreTrainedModel,
    info: Mapping[str, Any],
    name: str,
    head: Head,
    stored: Mapping[str, str],
    *,
    drawn: Collection[str] = (),
    files: str = "config.json",
) -> None:
    """Refuse weights that are not there, left over, of another shape, no plain numbers, or not finite.

    `info` is what transformers reports of loading, `stored` the types of the tensors by name (`check_weight_files`).
    Weights that are `drawn` need not be there, and those that the head names may be left over.
    """
    own = set(model.state_dict())
    left = sorted(key for key in info["unexpected_keys"] if not _is_unused(key, own, head))
    missing = sorted(set(info["missing_keys"]).difference(drawn))
    together = "Name a checkpoint whose files belong together"
    if any(key.startswith(f"{model.base_model_prefix}.") for key in missing):
        lacks = some(missing) + (f" and has {some(left)} in its place" if left else "")
        raise CheckpointError(f"the weights of {name} must be those of its {files}; it lacks {lacks}. {together}")
    if missing:
        must = f"a checkpoint must have a trained {head.name}"
        raise CheckpointError(f"{must}; {name} lacks {some(missing)}. {head.cure}")
    if left:
        must = f"each weight of {name} must have a place in the model of its {files}"
        raise CheckpointError(f"{must}; it has {some(left)} left over. {together}, or save it without them")
    for key, came, wanted in sorted(info["mismatched_keys"]):
        if key not in drawn:
            must = f"the weights of {name} must have the shapes of its {files}"
            raise CheckpointError(f"{must}; {key} has {tuple(came)}, not {tuple(wanted)}. {together}")
    _check_stored(model, stored, name)
    for one, other in model.get_expanded_tied_weights_keys(all_submodels=True).items():
        if not torch.equal(model.get_parameter_or_buffer(one), model.get_parameter_or_buffer(other)):
            must = f"weights that config.json ties must be the same; {name} holds {one} and {other}, which differ"
            raise CheckpointError(f"{must}. Set tie_word_embeddings to false in its config.json if it was trained so")
    if broken := [key for key, weights in model.named_parameters() if not weights.isfinite().all()]:
        must = f"the weights of a checkpoint must be finite; {name} has NaN or infinity in {some(broken)}"
        raise CheckpointError(f"{must}. Try --dtype float32, or save the checkpoint anew")


def _is_unused(key: str, own: Collection[str], head: Head) -> bool:
    """Whether no head needs this weight. Inside a module of the model, whose weights are `own`, each is needed."""
    found = [match for each in head.unused if (match := re.search(each, key))]
    return any(not any(name.startswith(key[: match.end()]) for name in own) for match in found)


def _check_stored(model: PreTrainedModel, stored: Mapping[str, str], name: str) -> None:
    own = [key for key, tensor in model.state_dict().items() if tensor.is_floating_point()]
    codes = []
    for key in sorted(key for key, dtype in stored.items() if dtype not in _COMPUTED):
        is_own = any(f".{one}".endswith(f".{key}") or key.endswith(f".{one}") for one in own)
        if is_own or key.endswith((".weight", ".gamma", ".beta")):
            codes.append(f"{key} ({stored[key]})")
    if codes:
        must = f"weights must be stored as floating-point numbers; {name} has {some(codes)}: codes of a quantised model"
        raise CheckpointError(f"{must}. Name the checkpoint as it was before")

    def plain(key: str) -> str:
        """Without what transformers adds or renames: the model's prefix, and two old names of norms."""
        plain = key.removeprefix(f"{model.base_model_prefix}.")
        return re.sub(r"\bgamma$", "weight", re.sub(r"\bbeta$", "bias", plain))

    counts = Counter(map(plain, stored))
    if twice := sorted(key for key in stored if counts[plain(key)] > 1):
        must = f"each weight must be stored once; {name} has {some(twice)} for the same places of the model"
        raise CheckpointError(f"{must}. Save the checkpoint anew")


def check_weight_files(folder: Path | None, name: str) -> dict[str, str]:
    """Refuse weights that are stored twice and differently, or whose index names what is not there.

    Returns:
        Name -> type of the tensors that transformers reads; empty where the folder is not known.
    """
    if folder is None:
        return {}
    if (folder / "adapter_config.json").exists():
        must = f"a checkpoint must hold its weights whole; {name} has an adapter (adapter_config.json)"
        raise CheckpointError(f"{must}. Merge it into the model (merge_and_unload of PEFT) and save the result")
    there = [file for file in _FILES if (folder / file).exists()]
    used = _tensors(folder, there[0], name) if there else {}
    for each in there[1:]:
        other = _tensors(folder, each, name, whole=False)
        # Files of one model may name tied weights differently, and be of another precision; no more.
        shared = used.keys() & other.keys()
        differing = [key for key in shared if not _is_same(used[key][1](), other[key][1]())]
        if differing or (other and not shared):
            must = f"weights must be stored once, or twice alike; {name} has other ones in {there[0]} than in {each}"
            raise CheckpointError(f"{must}: {some(sorted(differing or other))}. Delete the file that is not its own")
    return {key: dtype for key, (dtype, _) in used.items()}


def _is_same(one: Tensor, other: Tensor) -> bool:
    narrower = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    return one.shape == other.shape and torch.equal(one.to(narrower), other.to(narrower))


def _tensors(folder: Path, name: str, shown: str, *, whole: bool = True) -> _Stored:
    """Those of a file, or of all files of an index: each in the one that it names, where these must be `whole`."""
    if not name.endswith(".index.json"):
        return _tensors_of_file(folder / name)
    index = read_json(folder / name, "the index of the weights").get("weight_map")
    if not isinstance(index, dict) or not index or not all(isinstance(file, str) for file in index.values()):
        raise CheckpointError(f"{name} of {shown} must say in 'weight_map' which file holds which weight")
    there = {file for file in index.values() if Path(file).name == file and (folder / file).is_file()}
    held = {file: _tensors_of_file(folder / file) for file in sorted(there)}
    lacking = sorted(f"{key} ({file})" for key, file in index.items() if key not in held.get(file, ()))
    counts = Counter(key for tensors in held.values() for key in tensors)
    twice = [f"{key} ({', '.join(f for f in held if key in held[f])})" for key, n in counts.items() if n > 1]
    if whole and (lacking or twice):
        has = f"{some(twice)} twice" if twice else f"no {some(lacking)}"
        must = f"each weight must be stored once, in the file that {name} names"
        raise CheckpointError(f"{must}; {shown} has {has}. Save the checkpoint anew")
    return {key: tensor for tensors in held.values() for key, tensor in tensors.items()}


def _tensors_of_file(file: Path) -> _Stored:
    if file.suffix == ".safetensors":
        opened = safe_open(file, "pt")
        names = opened.keys()
        return {key: (opened.get_slice(key).get_dtype(), partial(opened.get_tensor, key)) for key in names}
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # written by a PyTorch that is too old for mmap, or damaged
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    return {key: (str(each.dtype), each.detach) for key, each in loaded.items() if isinstance(each, Tensor)}
