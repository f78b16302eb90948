"""Checks that a tokenizer is the model's own, settles what configuration and tokenizer leave open, and random texts."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from torch import Tensor
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.checkpoints.head import TABLE
from prune_heads.errors import CheckpointError

TOKENIZER_FILES = tuple(TABLE["tokenizer_files"])
"""One of them, at least, describes a tokenizer."""
TOKENIZER = "tokenizer: tokenizer.json, or the files of its vocabulary"
_PLAIN = {"return_dict": True, "torchscript": False, "chunk_size_feed_forward": 0}
"""Entries of a configuration that change what a forward pass is like and not what it computes: the values we need."""
_NEEDED = {"pad": "a padding token, for batches", "mask": "a mask token, for the tokens to predict"}
_NO_LIMIT = 10**30  # what transformers writes for a tokenizer without a longest text
_SHORTEST = 4  # tokens of the shortest text that can be asked for: two of a text and two special ones
_OWN = "It must be the model's own: save the one that the model was trained with into the folder"


def check_tokenizer(
    tokenizer: Tokenizer, model: PreTrainedModel, name: str, folder: Path | None, token: str | None
) -> None:
    """Refuse a tokenizer that no file describes, one of another model, or one without a token that is needed.

    `folder` is where its files are, if that is known; `token` the special token that is needed: `pad`, `mask` or none.
    Each is a `CheckpointError` that says what is wrong, and which files must be there.
    """
    files = tuple(getattr(type(tokenizer), "vocab_files_names", {}).values())
    if folder is not None and files and not any((folder / each).is_file() for each in (*TOKENIZER_FILES, *files)):
        vocabulary = " and ".join(file for file in files if not file.startswith("tokenizer"))
        raise lacking(name, f"tokenizer: tokenizer.json, or {vocabulary}" if vocabulary else TOKENIZER)
    try:
        n_embeddings = model.get_input_embeddings().weight.shape[0]
    except (AttributeError, NotImplementedError):  # those of Perceiver are its latents, CANINE hashes characters
        n_embeddings = getattr(model.config, "vocab_size", len(tokenizer))
    if len(tokenizer) > n_embeddings:
        raise CheckpointError(f"the tokenizer of {name} has {len(tokenizer)} tokens, the model {n_embeddings}. {_OWN}")
    if files and len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
        raise CheckpointError(f"the tokenizer of {name} must have words; it has only special tokens. {_OWN}")
    if "input_ids" not in (names := tokenizer.model_input_names):
        must = "model_input_names in tokenizer_config.json must hold 'input_ids'"
        raise CheckpointError(f"{must}; got {names} for {name}. Correct it")
    if folder is not None and (folder / "tokenizer.json").is_file():
        # Transformers builds some tokenizers anew, as a class is named: of another kind, it splits or drops words.
        text, whole = "the film is good", tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        before = whole.decode(whole.encode(text, add_special_tokens=False).ids)
        after = str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]))
        wanted, read, rebuilt = ("".join(filter(str.isalnum, each.casefold())) for each in (text, before, after))
        if read == wanted != rebuilt:
            came = f"as {type(tokenizer).__name__} that of {name} makes {after!r} of {text!r}. Correct tokenizer_class"
            raise CheckpointError(f"the tokenizer must be of the class that its tokenizer.json is for; {came}")
    if token is not None and getattr(tokenizer, f"{token}_token") is None:
        cure = f"Set {token}_token in its tokenizer_config.json"
        raise CheckpointError(f"the tokenizer of {name} must have {_NEEDED[token]}; it has none. {cure}")
    # Special tokens that configuration and tokenizer place differently tell that the tokenizer is another model's.
    special = set(tokenizer.all_special_ids)
    for role in ("pad", "bos", "eos", "cls", "sep", "mask"):
        said, own = getattr(model.config, f"{role}_token_id", None), getattr(tokenizer, f"{role}_token_id", None)
        ids = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, int)]
        ids = [each for each in ids if each < n_embeddings]  # what is beyond was never set
        is_other = own is not None and (role == token == "pad" or not special & set(ids))
        if ids and own not in ids and (is_other or min(ids) >= len(tokenizer)):
            has = f"the tokenizer has {'none' if own is None else own}"
            raise CheckpointError(f"{role}_token_id in config.json of {name} is {said}, {has}. {_OWN}, or correct it")


def lacking(name: str, what: str) -> CheckpointError:
    """The error where none of the files of a tokenizer or an image processor is there."""
    cure = "Copy the files that the model was trained with into the folder"
    return CheckpointError(f"a checkpoint must hold its {what}; {name} holds none. {cure}")


def settle(model: PreTrainedModel, tokenizer: Any, raw: Mapping[str, Any], *, pads: bool = True) -> tuple[str, ...]:
    """Set what the configuration of a model and its tokenizer leave open, or ask for without effect.

    A model of images has no tokenizer but something else. `raw` is the configuration as in config.json: the default of
    its class may be the padding token of another model. `pads` says whether batches are padded.

    Returns:
        What was decided, as notes.
    """
    plain = [(entry, getattr(model.config, entry, value), value) for entry, value in _PLAIN.items()]
    notes = [f"config.json says {entry} = {said}; {value} is taken" for entry, said, value in plain if said != value]
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
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = own
        notes.append(f"config.json names no padding token; the tokenizer's is taken: {tokenizer.pad_token} ({own})")
    longest: Any = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest >= _SHORTEST:
        must = f"model_max_length in tokenizer_config.json must be a number of tokens from {_SHORTEST} on"
        notes.append(f"{must}; got {longest!r}, which is ignored")
        longest = _NO_LIMIT
    tokenizer.model_max_length = int(min(longest, _NO_LIMIT))
    return tuple(notes)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer as it was loaded."""
    if backend := getattr(tokenizer, "backend_tokenizer", None):
        backend.no_truncation()  # it remembers how it was last called, and would save that
        backend.no_padding()
    tokenizer.save_pretrained(folder)


def random_texts(tokenizer: Tokenizer, lengths: Sequence[int], generator: np.random.Generator) -> dict[str, Tensor]:
    """Texts of different random tokens, as the tokenizer would give them, padded on the right; for proofs.

    A vocabulary may map a whole sentence to one repeated token. If all tokens are equal, a head gives the same output
    whatever it attends to, so a proof would see nothing.

    Args:
        tokenizer: Gives the special tokens around a text, and the names of the fields.
        lengths: Tokens of each text, special ones included; equal where the tokenizer cannot pad.
        generator: Draws the tokens; those of a text differ while the vocabulary has others.

    Returns:
        `(n_texts, longest)` a field.
    """
    frame = tokenizer("a", return_special_tokens_mask=True)
    is_special = frame.pop("special_tokens_mask")
    around = {i for i, special in zip(frame["input_ids"], is_special, strict=True) if special}
    everything = set(range(len(tokenizer)))
    words = sorted(everything - around - set(tokenizer.all_special_ids)) or sorted(everything)
    first = is_special.index(0) if 0 in is_special else len(is_special) // 2
    last = len(is_special) - is_special[::-1].index(0) if 0 in is_special else first
    rows = []
    for length in lengths:
        n_words = max(1, length - first - (len(is_special) - last))
        row = {name: [*x[:first], *(x[first : first + 1] or [1]) * n_words, *x[last:]] for name, x in frame.items()}
        drawn = generator.choice(words, n_words, replace=n_words > len(words))
        row["input_ids"][first : first + n_words] = drawn.tolist()
        rows.append(row)
    can_pad = tokenizer.pad_token is not None
    return dict(tokenizer.pad(rows, padding=can_pad, padding_side="right", return_tensors="pt", verbose=False))
