"""A checkpoint with its tokenizer, as a classifier or as a language model that takes a classifier's place."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.checkpoints.fit import PRETRAINING, UNUSED, check_classifier, check_weights, read_config
from prune_heads.checkpoints.language_model import (
    LanguageModel,
    Objective,
    objective_of,
    reading_likelihoods,
)
from prune_heads.checkpoints.linear_maps import use_onednn
from prune_heads.checkpoints.loading import find, folder_of, reading, revision_in_cache
from prune_heads.checkpoints.pruned import has_removed_heads, load_pruned
from prune_heads.checkpoints.random_texts import random_texts
from prune_heads.checkpoints.tokenizer import check_tokenizer, load_tokenizer, settle
from prune_heads.checkpoints.weight_files import check_weight_files
from prune_heads.errors import CheckpointError

_PROBE_LENGTHS = (8, 6, 4)
"""Tokens of the texts of a proof, special ones included."""

_WITH_HEAD: Mapping[Objective, Any] = {
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "seq2seq": AutoModelForSeq2SeqLM,
}


class Classifier(NamedTuple):
    """A loaded checkpoint; a language model takes a classifier's place by reading its own loss off."""

    model: PreTrainedModel
    """In evaluation mode."""
    tokenizer: Tokenizer
    name: str
    """Without the path that led to it: records must not depend on where a folder stands."""
    revision: str | None
    """The hub's commit, when it came from there."""
    notes: tuple[str, ...] = ()
    """What was decided for want of a word in the checkpoint."""

    @property
    def objective(self) -> Objective | None:
        """What a language model was trained to predict; None for a classifier."""
        return self.model.objective if isinstance(self.model, LanguageModel) else None

    def probe_inputs(self) -> dict[str, Tensor]:
        """Texts of random tokens, `(n_texts, tokens)` a field, always the same, for which the model gives its logits.

        Three of different lengths, or one where model or tokenizer cannot pad.
        """
        can_pad = None not in (self.tokenizer.pad_token, getattr(self.model.config, "pad_token_id", None))
        lengths = _PROBE_LENGTHS if can_pad else _PROBE_LENGTHS[:1]
        inputs = random_texts(self.tokenizer, lengths, np.random.default_rng(0))
        if self.objective == "seq2seq":
            inputs["decoder_input_ids"] = inputs["input_ids"]
        return {name: value.to(self.model.device) for name, value in inputs.items()}


def load_classifier(
    name: str,
    *,
    task: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Classifier:
    """Load a model with a sequence classification head.

    Args:
        name: A local folder (also one that `save_pruned` has written), a repository on the hub, or `mini`.
        task: The task's name, by which `mini` finds its checkpoint.
        dtype: Half-precision checkpoints are computed in float32 unless asked otherwise.
        trust_remote_code: Run code that a hub repository brings along.

    Raises:
        CheckpointError: Saying what the checkpoint lacks and what to do.
    """
    source, shown = find(name, task)
    with reading(source, shown, trust_remote_code=trust_remote_code) as where:
        config, raw = read_config(source, shown, where)
        if objective := objective_of(config):
            raise CheckpointError(
                f"a checkpoint must have a trained classification head; {shown} is a language model "
                f"({raw['architectures'][0]}). Fine-tune it on the task first, or score it by its own loss on plain "
                f"text with --task {'seq2seq' if objective == 'seq2seq' else 'lm'}"
            )
        check_classifier(config, raw, shown)
        model, tokenizer = _read(
            source, shown, config, AutoModelForSequenceClassification, dtype, where, PRETRAINING
        )
    loaded = _finished(model, tokenizer, source, shown, raw, token="pad")
    if not config.architectures:
        note = f"config.json names no class in 'architectures'; {type(model).__name__} is taken"
        loaded = loaded._replace(notes=(note, *loaded.notes))
    return loaded


def load_language_model(
    name: str,
    *,
    pairs: bool = False,
    task: str | None = None,
    dtype: torch.dtype = torch.float32,
    trust_remote_code: bool = False,
) -> Classifier:
    """Load a model with a language-modelling head; which kind it is, its configuration says (`architectures`).

    Args:
        name: As for `load_classifier`.
        pairs: Whether it gives targets to sources, as an encoder-decoder does.
        task: As for `load_classifier`.
        dtype: As for `load_classifier`.
        trust_remote_code: As for `load_classifier`.

    Returns:
        A model whose forward takes `targets` too, and gives the log-likelihoods of the examples then.

    Raises:
        CheckpointError: Saying what the checkpoint lacks and what to do.
    """
    source, shown = find(name, task or ("seq2seq" if pairs else "lm"))
    with reading(source, shown, trust_remote_code=trust_remote_code) as where:
        config, raw = read_config(source, shown, where)
        objective = _checked_objective(config, shown, pairs)
        model, tokenizer = _read(
            source,
            shown,
            config,
            _WITH_HEAD[objective],
            dtype,
            where,
            UNUSED,
            head="language-modelling head",
            cure="Name the checkpoint as it was pretrained",
        )
    needed = {"causal": None, "masked": "mask", "seq2seq": "pad"}
    loaded = _finished(model, tokenizer, source, shown, raw, token=needed[objective])
    reading_likelihoods(model, objective)
    return loaded


def _read(
    source: Path | str,
    name: str,
    config: PreTrainedConfig,
    model_class: Any,
    dtype: torch.dtype,
    where: dict[str, Any],
    unused: Mapping[str, str],
    **head: str,
) -> tuple[PreTrainedModel, Tokenizer]:
    """The model, its weights checked, and the tokenizer as it is."""
    tokenizer = load_tokenizer(source, name, where)
    if isinstance(source, Path) and has_removed_heads(source):
        return load_pruned(source, dtype=dtype), tokenizer
    stored = check_weight_files(source if isinstance(source, Path) else None, name)
    model, info = model_class.from_pretrained(
        source, config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True, **where
    )
    stored = stored or check_weight_files(folder_of(source), name)
    check_weights(model, info, name, stored=stored, unused=unused, **head)
    return model, tokenizer


def _finished(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    source: Path | str,
    name: str,
    raw: Mapping[str, Any],
    *,
    token: str | None,
) -> Classifier:
    notes = settle(model, tokenizer, raw, pads=token is not None)
    check_tokenizer(tokenizer, model, name, folder=folder_of(source), token=token)
    use_onednn(model)
    return Classifier(model.eval(), tokenizer, name, revision_in_cache(source), notes)


def _checked_objective(config: Any, name: str, pairs: bool) -> Objective:
    objective = objective_of(config)
    named = ", ".join(config.architectures or ()) or "nothing"
    if objective is None:
        raise CheckpointError(
            "a language model must name a class with a language-modelling head in 'architectures' of its config.json, "
            f"such as BertForMaskedLM, GPT2LMHeadModel or T5ForConditionalGeneration; that of {name} names {named}. "
            "Name the checkpoint as it was pretrained"
        )
    if pairs != (objective == "seq2seq"):
        wanted, other = ("an encoder-decoder", "lm") if pairs else ("a causal or masked model", "seq2seq")
        raise CheckpointError(
            f"--task {'seq2seq' if pairs else 'lm'} must be given {wanted}; {name} is none ({named}). "
            f"Take --task {other}"
        )
    return objective


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 (hex) of all weights: names, types, shapes and bytes. Independent of file and folder."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
