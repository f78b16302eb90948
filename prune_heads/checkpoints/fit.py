"""Checks that the configuration, the weights and the head of a checkpoint fit each other and the task.

transformers loads what it can: it draws missing weights, leaves others out, reads integers as weights. Whatever would
change a result is refused here by name.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from prune_heads.errors import CheckpointError, some

UNUSED = {
    r"(^|\.)pooler\.": "the first token's state for other heads; a head that needs it would own it",
    r"(^|\.)(position_ids|token_type_ids|inv_freq|relative_position_index|num_batches_tracked)$": (
        "computed from the configuration, as files of older versions hold it"
    ),
    r"(^|\.)(attn(\.attention)?\.bias|masked_bias)$": "the causal mask of GPT and GPT-Neo, as older files hold it",
    r"(^|\.)((encoder|decoder)\.version|embed_positions\.weights)$": "a number of fairseq's, and sinusoidal positions",
    r"^(cls\.seq_relationship|sop_classifier|discriminator_predictions|mask_predictions)\.": (
        "heads of pre-training that give no tokens"
    ),
}
"""Patterns of weights that a checkpoint may hold besides those of the model, and why no head needs them."""

PRETRAINING = UNUSED | {
    r"^(cls|lm_head|lm_predictions|predictions|generator_predictions|generator_lm_head|lm_loss|pred_layer)\.": (
        "heads of pre-training, whose place the classification head takes"
    ),
    r"^vocab_(transform|layer_norm|projector)\.": "DistilBERT's head of pre-training",
}
"""The same for a classifier."""

_COMPUTED = frozenset(
    ("F64", "F32", "F16", "BF16", *map(str, (torch.float64, torch.float32, torch.float16, torch.bfloat16)))
)
"""Types of plain numbers, as safetensors and PyTorch write them."""

_PROBLEMS = (None, "single_label_classification", "multi_label_classification", "regression")

_ENCODERS = frozenset(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
_CAUSAL = frozenset(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
_BASES = frozenset(modeling_auto.MODEL_MAPPING_NAMES.values())


def read_config(source: Path | str, name: str, where: Mapping[str, Any]) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """The configuration of a checkpoint, as transformers takes it and as config.json has it; see `check_config`."""
    raw, _ = PreTrainedConfig.get_config_dict(source, **where)
    check_config(raw, name)
    return AutoConfig.from_pretrained(source, **where), raw


def check_config(raw: Mapping[str, Any], name: str) -> None:
    """Refuse a configuration that says one thing twice, or names what would be ignored.

    Args:
        raw: As config.json has it.
        name: Of the checkpoint.

    Raises:
        CheckpointError: Naming the entry.
    """

    def refuse(entry: str, must: str, cure: str = "Correct it") -> None:
        shown = repr(raw.get(entry))
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise CheckpointError(f"{entry} in config.json of {name} must {must}; got {shown}. {cure}")

    classes = raw.get("architectures")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(each, str) for each in classes)):
        refuse("architectures", "be a list of names of classes, such as ['BertForSequenceClassification']")
    if raw.get("problem_type") not in _PROBLEMS:
        refuse("problem_type", f"be null or one of {', '.join(map(str, _PROBLEMS[1:]))}")
    parts = (raw, *(value for value in raw.values() if isinstance(value, dict)))
    if any(part.get("quantization_config") or part.get("compression_config") for part in parts):
        refuse(
            "quantization_config",
            "be absent, for heads of quantised weights are neither gated nor removed exactly",
            "Name the checkpoint as it was before, or dequantise it and save the result",
        )
    if raw.get("is_decoder") and raw.get("model_type") in _ENCODERS and not _CAUSAL & set(classes or ()):
        refuse("is_decoder", "be false, for as a decoder each token would see those before it alone")
    names, ids = raw.get("id2label"), raw.get("label2id")
    if names is None:
        return
    if not isinstance(names, dict) or not all(re.fullmatch("[0-9]+", str(key)) for key in names):
        refuse("id2label", 'map numbers from 0 to names, such as {"0": "negative", "1": "positive"}')
    n_labels = raw.get("num_labels")
    if n_labels is not None and n_labels != len(names):
        refuse("num_labels", f"be the number of labels that id2label names, {len(names)}")
    if ids is not None and not isinstance(ids, dict):
        refuse("label2id", 'map names to numbers, such as {"negative": 0, "positive": 1}')
    for key, label in names.items():
        if (ids or {}).get(str(label), int(key)) not in (int(key), key):
            refuse("label2id", f"agree with id2label, where {label} is {key}")


def check_class(config: PreTrainedConfig, raw: Mapping[str, Any], name: str, suffix: str, head: str) -> None:
    """Refuse a class that has another head.

    Args:
        config: Of the checkpoint.
        raw: The same as config.json has it.
        name: Of the checkpoint.
        suffix: What the names of the classes that have this head share, such as `SequenceClassification`.
        head: Its name.

    Raises:
        CheckpointError: Naming the class.
    """
    remote = str((raw.get("auto_map") or {}).get(f"AutoModelFor{suffix}", "")).split(".")[-1]
    for named in config.architectures or ():
        if suffix not in named and named != remote and named not in _BASES:
            raise CheckpointError(
                f"a checkpoint must have a trained {head}; {name} is of another class ({named}). Fine-tune it on the "
                f"task first, or name a checkpoint that is. If it has such a head, name the class ...For{suffix} in "
                "'architectures' of its config.json"
            )


def check_weights(
    model: PreTrainedModel,
    info: Mapping[str, Any],
    name: str,
    *,
    stored: Mapping[str, str] = MappingProxyType({}),
    unused: Iterable[str] = UNUSED,
    head: str = "classification head",
    cure: str = "Fine-tune it on the task first, or name one that is",
    files: str = "config.json",
) -> None:
    """Refuse weights that are not there, left over, of another shape, no plain numbers, or not finite.

    Args:
        model: As loaded.
        info: What transformers reports of loading; empty for a checkpoint that was checked before.
        name: Of the checkpoint.
        stored: Names and types of its tensors; see `check_weight_files`.
        unused: Patterns of what may be left over.
        head: What is trained on top of the model.
        cure: For a checkpoint that lacks it.
        files: What says which weights there are.

    Raises:
        CheckpointError: Naming the weights.
    """
    left = _left_over(model, info, unused)
    missing = sorted(info.get("missing_keys", ()))
    base = f"{model.base_model_prefix}."
    if any(key.startswith(base) for key in missing):
        found = f" and has {some(sorted(left))} in its place" if left else ""
        raise CheckpointError(
            f"the weights of {name} must be those of its {files}; it lacks {some(missing)}{found}. Name a "
            "checkpoint whose files belong together"
        )
    if missing:
        raise CheckpointError(f"a checkpoint must have a trained {head}; {name} lacks {some(missing)}. {cure}")
    if left:
        raise CheckpointError(
            f"every weight of a checkpoint must have a place in the model of its {files}; {name} has "
            f"{some(sorted(left))} left over. Name a checkpoint whose files belong together, or save it without them"
        )
    for key, there, wanted in sorted(info.get("mismatched_keys", ())):
        raise CheckpointError(
            f"the weights of {name} must have the shapes of its {files}; {key} has {tuple(there)}, not "
            f"{tuple(wanted)}. Name a checkpoint whose files belong together"
        )
    _check_stored(model, stored, name)
    _check_tied(model, info, name)
    if broken := [key for key, weights in model.named_parameters() if not weights.isfinite().all()]:
        raise CheckpointError(
            f"the weights of a checkpoint must be finite; {name} has NaN or infinity in {some(broken)}. "
            "Try --dtype float32, or save the checkpoint anew"
        )


def _left_over(model: PreTrainedModel, info: Mapping[str, Any], unused: Iterable[str]) -> list[str]:
    """Weights without a place in the model that are not known to be unused."""
    own = set(model.state_dict())

    def is_unused(key: str) -> bool:
        """A weight inside a module that the model has is used, whatever its name."""
        found = [match for each in unused if (match := re.search(each, key))]
        return any(not any(name.startswith(key[: match.end()]) for name in own) for match in found)

    return [key for key in info.get("unexpected_keys", ()) if not is_unused(key)]


def _check_stored(model: PreTrainedModel, stored: Mapping[str, str], name: str) -> None:
    own = [key for key, tensor in model.state_dict().items() if tensor.is_floating_point()]
    wrong = [
        key
        for key, dtype in stored.items()
        if dtype not in _COMPUTED
        and (
            key.endswith((".weight", ".gamma", ".beta"))
            or any(f".{one}".endswith(f".{key}") or key.endswith(f".{one}") for one in own)
        )
    ]
    if wrong:
        raise CheckpointError(
            f"the weights of a checkpoint must be stored as float32, float64, float16 or bfloat16; {name} has "
            f"{some([f'{key} ({stored[key]})' for key in sorted(wrong)])}: codes of a quantised model. Name the "
            "checkpoint as it was before"
        )

    names = Counter(_plain_name(key, model) for key in stored)
    if twice := sorted(key for key in stored if names[_plain_name(key, model)] > 1):
        raise CheckpointError(
            f"each weight of a checkpoint must be stored once; {name} has {some(twice)} for the same places of the "
            "model. Save the checkpoint anew"
        )


def _plain_name(key: str, model: PreTrainedModel) -> str:
    """A name without what transformers adds or renames: the model's prefix, and two old names of norms."""
    plain = key.removeprefix(f"{model.base_model_prefix}.")
    return re.sub(r"\bgamma$", "weight", re.sub(r"\bbeta$", "bias", plain))


def _check_tied(model: PreTrainedModel, info: Mapping[str, Any], name: str) -> None:
    expand = getattr(model, "get_expanded_tied_weights_keys", None)
    for one, other in (expand(all_submodels=True) if expand and info else {}).items():
        if not torch.equal(model.get_parameter_or_buffer(one), model.get_parameter_or_buffer(other)):
            raise CheckpointError(
                f"weights that config.json ties must be the same; {name} holds {one} and {other}, which differ. Set "
                "tie_word_embeddings to false in its config.json if it was trained so"
            )
