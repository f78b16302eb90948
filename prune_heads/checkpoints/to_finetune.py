"""A checkpoint as a start for fine-tuning: with the classification head that it has, or with a new one."""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

from prune_heads.checkpoints.fit import check_weights, read_config
from prune_heads.checkpoints.head import CLASSIFICATION, Head
from prune_heads.checkpoints.language_model import objective_of
from prune_heads.checkpoints.loader import Checkpoint, finished, read_model, read_preprocessor
from prune_heads.checkpoints.loading import find, reading
from prune_heads.checkpoints.pruned import has_removed_heads
from prune_heads.errors import CheckpointError


def load_to_finetune(
    name: str,
    labels: Sequence[str] | None,
    *,
    head: Head = CLASSIFICATION,
    problem: str = "single_label_classification",
    task: str | None = None,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Load a pretrained model, in float32, with a head for these labels.

    A head that the checkpoint has for the same labels by name, in whatever order, is kept; any other is drawn anew
    from PyTorch's generator, which the caller seeds. So is a pooler that the checkpoint lacks.

    Args:
        name: A local folder, a repository on the hub, or `mini`.
        labels: Of the task, by name; None for a score.
        head: Which head is trained.
        problem: The `problem_type` of a head with labels.
        task: The task's name, by which `mini` finds its checkpoint.
        trust_remote_code: Run code that a hub repository brings along.

    Raises:
        CheckpointError: If the checkpoint cannot be loaded, lacks more than a head, or has had heads removed.
    """
    source, shown = find(name, task)
    if isinstance(source, Path) and has_removed_heads(source):
        raise CheckpointError(
            f"fine-tuning must start from a whole model; {shown} has had heads removed. Fine-tune first, then prune"
        )
    problem = "regression" if labels is None else problem
    with reading(source, shown, trust_remote_code=trust_remote_code) as where:
        config, raw = read_config(source, shown, where)
        reader = read_preprocessor(source, shown, head, where)
        keeps_head = _has_head_for(config, labels, head, problem)
        if not keeps_head:
            config.id2label = dict(enumerate(labels or ("score",)))
            config.label2id = {label: index for index, label in config.id2label.items()}
            config.problem_type = None if problem == "single_label_classification" else problem
        model, info, stored = read_model(source, shown, config, head, torch.float32, where)
        unused = (*head.unused, *_other_heads(config))
    pretrained = objective_of(config) or any("PreTraining" in each for each in config.architectures or ())
    drawn = _new_weights(model, info, anew=not (keeps_head or pretrained))
    found = {
        "unexpected_keys": info["unexpected_keys"],
        "missing_keys": set(info["missing_keys"]) - drawn,
        "mismatched_keys": [each for each in info["mismatched_keys"] if each[0] not in drawn],
    }
    check_weights(model, found, shown, stored=stored, unused=unused, head="model under its head")
    return finished(model, reader, source, shown, raw, head)._replace(drawn=tuple(sorted(drawn)))


def _has_head_for(config: Any, labels: Sequence[str] | None, head: Head, problem: str) -> bool:
    has_it = not config.architectures or any(head.suffix in name for name in config.architectures)
    if config.problem_type not in (None, problem):
        return False
    if labels is None:
        return has_it and config.num_labels == 1
    names = [str(name).casefold() for name in config.id2label.values()]
    return has_it and sorted(names) == sorted(label.casefold() for label in labels)


def _other_heads(config: PreTrainedConfig) -> list[str]:
    """Patterns of the head that the checkpoint has for what it was trained on, which is left out."""
    found: list[str] = []
    for named in config.architectures or ():
        other: Any = getattr(transformers, named, None)
        if isinstance(other, type) and issubclass(other, PreTrainedModel):
            with torch.device("meta"):  # names alone
                model = other(copy.deepcopy(config))
            if model.base_model is not model:
                found += [f"^{re.escape(key)}$" for key in model.state_dict() if not _is_inside(model, key)]
    return found


def _is_inside(model: PreTrainedModel, key: str) -> bool:
    """Whether a weight is of the model under the head."""
    return key.startswith(f"{model.base_model_prefix}.")


@torch.no_grad()
def _new_weights(model: PreTrainedModel, info: dict[str, Any], *, anew: bool) -> set[str]:
    """What the checkpoint lacks outside the model proper or in its pooler, and the head, if that is drawn anew."""
    lacking = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    drawn = {key for key in lacking if not _is_inside(model, key) or ".pooler." in key}
    for name, module in model.named_modules():
        own = {f"{name}.{key}": weight for key, weight in module.named_parameters(recurse=False)}
        if not anew or not name or _is_inside(model, f"{name}.") or own.keys() <= drawn:
            continue
        for weight in own.values():
            weight._is_hf_initialized = False  # transformers guards what it has loaded
        model._init_weights(module)
        drawn |= own.keys()
    return drawn
