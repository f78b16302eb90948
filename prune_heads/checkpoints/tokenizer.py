"""Checks that a tokenizer is the model's own, and settles what configuration and tokenizer leave open."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.errors import CheckpointError

_PLAIN = {"return_dict": True, "torchscript": False, "chunk_size_feed_forward": 0}
"""Entries of a configuration that change what a forward pass is like and not what it computes: the values we need."""

_ROLES = ("pad", "bos", "eos", "cls", "sep", "mask")

_ANY_TOKENIZER = (
    *("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.txt", "vocab.json"),
    *("spiece.model", "sentencepiece.bpe.model", "spm.model"),
)

_NONE = (
    "a checkpoint must hold its tokenizer: tokenizer.json, or {own}; {name} holds none. Copy the files of the "
    "tokenizer that the model was trained with into the folder"
)

_PROBE = "the film is good"

_NO_LIMIT = 10**30
"""What transformers writes for a tokenizer without a longest text."""

_SHORTEST = 4
"""Tokens of the shortest text that can be asked for: two of a text and two special ones."""


def load_tokenizer(source: Path | str, name: str, where: Mapping[str, Any]) -> Tokenizer:
    """A checkpoint's tokenizer, as it is.

    Raises:
        CheckpointError: If there are no files of one.
    """
    try:
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(source, **where)
    except Exception as error:
        if isinstance(source, Path) and not any((source / file).exists() for file in _ANY_TOKENIZER):
            raise CheckpointError(_NONE.format(name=name, own="the files of its vocabulary")) from error
        raise
    return tokenizer


def check_tokenizer(
    tokenizer: Tokenizer, model: PreTrainedModel, name: str, *, folder: Path | None, token: str | None
) -> None:
    """Refuse a tokenizer that no file describes, one of another model, or one without a token that is needed.

    Args:
        tokenizer: As loaded.
        model: Whose it should be.
        name: Of the checkpoint.
        folder: Where its files are, if that is known.
        token: The special token that is needed: `pad`, `mask` or none.

    Raises:
        CheckpointError: Saying what is wrong, and which files must be there.
    """
    files = tuple(getattr(type(tokenizer), "vocab_files_names", {}).values())
    if folder is not None and files and not any((folder / each).is_file() for each in (*_ANY_TOKENIZER, *files)):
        own = " and ".join(file for file in files if not file.startswith("tokenizer"))
        raise CheckpointError(_NONE.format(name=name, own=own or "the files of its vocabulary"))
    n_embeddings = model.get_input_embeddings().weight.shape[0]
    cure = "Save the tokenizer that the model was trained with into the folder"
    if len(tokenizer) > n_embeddings:
        raise CheckpointError(
            f"the tokenizer must be the model's own; that of {name} has {len(tokenizer)} tokens, the model "
            f"{n_embeddings}. {cure}"
        )
    if files and len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
        raise CheckpointError(f"the tokenizer must have words; that of {name} has only special tokens. {cure}")
    if "input_ids" not in tokenizer.model_input_names:
        raise CheckpointError(
            f"model_input_names in tokenizer_config.json of {name} must hold 'input_ids'; got "
            f"{tokenizer.model_input_names}. Correct it"
        )
    _check_class(tokenizer, folder, name)
    uses = {"pad": "a padding token, for batches", "mask": "a mask token, for the tokens to predict"}
    if token is not None and getattr(tokenizer, f"{token}_token") is None:
        raise CheckpointError(
            f"the tokenizer must have {uses[token]}; that of {name} has none. Set {token}_token in "
            "its tokenizer_config.json"
        )
    _check_special(tokenizer, model.config, name, n_embeddings, pads=token == "pad")


def _check_class(tokenizer: Tokenizer, folder: Path | None, name: str) -> None:
    """Transformers builds some tokenizers anew, as a class is named: of another kind, it splits or drops words."""
    if folder is None or not (folder / "tokenizer.json").is_file():
        return
    whole = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    before = whole.decode(whole.encode(_PROBE, add_special_tokens=False).ids)
    after = str(tokenizer.decode(tokenizer(_PROBE, add_special_tokens=False)["input_ids"]))
    if _letters(before) == _letters(_PROBE) != _letters(after):
        raise CheckpointError(
            f"the tokenizer must be of the class that its tokenizer.json is for; as {type(tokenizer).__name__} that of "
            f"{name} makes {after!r} of {_PROBE!r}. Correct tokenizer_class in its tokenizer_config.json"
        )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _check_special(tokenizer: Tokenizer, config: PreTrainedConfig, name: str, n_embeddings: int, *, pads: bool) -> None:
    """Special tokens that configuration and tokenizer place differently tell that the tokenizer is another model's."""
    special = set(tokenizer.all_special_ids)
    for role in _ROLES:
        said, own = getattr(config, f"{role}_token_id", None), getattr(tokenizer, f"{role}_token_id", None)
        ids = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, int)]
        ids = [each for each in ids if each < n_embeddings]  # what is beyond was never set
        if not ids or own in ids:
            continue
        if (own is not None and ((role == "pad" and pads) or not special & set(ids))) or min(ids) >= len(tokenizer):
            there = "has none" if own is None else f"has {own}"
            raise CheckpointError(
                f"the tokenizer must be the model's own; {role}_token_id in config.json of {name} is {said}, the "
                f"tokenizer {there}. Save the tokenizer that the model was trained with into the folder, or correct "
                "config.json if it is this one"
            )


def settle(model: PreTrainedModel, tokenizer: Any, raw: Mapping[str, Any], *, pads: bool = True) -> tuple[str, ...]:
    """Set what the configuration of a model and its tokenizer leave open, or ask for without effect.

    Args:
        model: As loaded.
        tokenizer: Its own; of a model of images, anything else.
        raw: Its configuration as in config.json: the default of its class may be the padding token of another model.
        pads: Whether batches are padded.

    Returns:
        What was decided, as notes.
    """
    notes = []
    for entry, value in _PLAIN.items():
        if getattr(model.config, entry, value) != value:
            notes.append(f"config.json says {entry} = {getattr(model.config, entry)}; {value} is taken")
    for module in model.modules():
        for entry in _PLAIN.keys() & vars(getattr(module, "config", object)).keys():
            setattr(module.config, entry, _PLAIN[entry])  # a stack may have a copy of its own
        if getattr(module, "chunk_size_feed_forward", 0) != 0:
            module.chunk_size_feed_forward = 0
    if not isinstance(tokenizer, Tokenizer):
        return tuple(notes)
    takes = inspect.signature(model.forward).parameters
    if "attention_mask" in takes and "attention_mask" not in tokenizer.model_input_names:
        tokenizer.model_input_names = [*tokenizer.model_input_names, "attention_mask"]
        notes.append("model_input_names in tokenizer_config.json lacks attention_mask, which is added")
    own = tokenizer.pad_token_id
    if pads and own not in (None, getattr(model.config, "pad_token_id", own)) and raw.get("pad_token_id") is None:
        for config in (model.config, model.config.get_text_config()):
            config.pad_token_id = own
        notes.append(f"config.json names no padding token; the tokenizer's is taken: {tokenizer.pad_token} ({own})")
    longest: Any = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest >= _SHORTEST:
        notes.append(
            f"model_max_length in tokenizer_config.json must be a number of tokens from {_SHORTEST} on; got "
            f"{longest!r}, which is ignored"
        )
        longest = _NO_LIMIT
    tokenizer.model_max_length = int(min(longest, _NO_LIMIT))
    return tuple(notes)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer as it was loaded."""
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        backend.no_truncation()  # it remembers how it was last called, and would save that
        backend.no_padding()
    tokenizer.save_pretrained(folder)
