"""A checkpoint as a start for fine-tuning: with the classification head that it has, or with a new one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from prune_heads.checkpoints.classifier import Classifier
from prune_heads.checkpoints.loading import (
    check_tokenizer,
    check_weights,
    find,
    reading,
    revision_in_cache,
)
from prune_heads.checkpoints.pruned import has_removed_heads
from prune_heads.errors import CheckpointError


class Start(NamedTuple):
    """A model to be fine-tuned."""

    classifier: Classifier
    """In float32."""
    drawn: tuple[str, ...]
    """Weights that the checkpoint lacks, drawn at random."""


def load_to_finetune(
    name: str,
    labels: Sequence[str] | None,
    *,
    task: str | None = None,
    trust_remote_code: bool = False,
) -> Start:
    """Load a pretrained model with a classification head for these labels.

    A head that the checkpoint has for the same labels by name, in whatever order, is kept; any other is drawn anew
    from PyTorch's generator, which the caller seeds. So is a pooler that the checkpoint lacks.

    Args:
        name: A local folder, a repository on the hub, or `mini`.
        labels: Of the task, by name; None for a score.
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
    with reading(source, shown, trust_remote_code=trust_remote_code) as where:
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        config = AutoConfig.from_pretrained(source, **where)
        if not _has_head_for(config, labels):
            config.id2label = dict(enumerate(labels or ("score",)))
            config.label2id = {label: index for index, label in config.id2label.items()}
            config.problem_type = None if labels else "regression"
        if config.pad_token_id is None:
            config.pad_token_id = tokenizer.pad_token_id  # GPT-2 and its like find the last token by it
        model, info = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **where,
        )
    check_tokenizer(tokenizer, model, shown, token="pad")
    drawn = _new_weights(model, info)
    check_weights(
        model, {"missing_keys": set(info["missing_keys"]) - set(drawn)}, shown, head="model under its head"
    )
    return Start(Classifier(model, tokenizer, shown, revision_in_cache(source)), drawn)


def _has_head_for(config: Any, labels: Sequence[str] | None) -> bool:
    is_classifier = any("SequenceClassification" in name for name in config.architectures or ())
    if labels is None:
        return is_classifier and config.num_labels == 1
    names = [str(name).casefold() for name in config.id2label.values()]
    return is_classifier and sorted(names) == sorted(label.casefold() for label in labels)


def _new_weights(model: PreTrainedModel, info: dict[str, Any]) -> tuple[str, ...]:
    """What was drawn because the checkpoint lacks it, outside the model proper or in its pooler."""
    inside = f"{model.base_model_prefix}."
    lacking = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    return tuple(sorted(key for key in lacking if not key.startswith(inside) or ".pooler." in key))
