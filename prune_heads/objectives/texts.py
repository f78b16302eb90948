"""Texts and pairs of texts, tokenised once and held as flat arrays."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import CheckpointError
from prune_heads.objectives.base import Examples
from prune_heads.objectives.batches import Ragged

CHUNK = 1000
"""Texts that are given to a tokeniser at once."""


def tokenize(
    split: Examples, tokenizer: Any, *, n_max: int, of: Mapping[str, str], words: bool = False
) -> tuple[dict[str, Ragged], NDArray[np.bool_]]:
    """The tokenizer's fields of each example, and which examples were longer, `(n_examples,)`, and are cut.

    Args:
        split: With columns of texts.
        tokenizer: The checkpoint's own; the longer text of a pair is cut first.
        n_max: Tokens, at most.
        of: The tokenizer's argument -> column, such as `{"text": "text"}`; columns that are not there are left out.
        words: Whether texts are lists of words. The field `word_ids` is then the word of each token, -1 for none.

    Raises:
        CheckpointError: If the tokenizer does not say which words its tokens are of.
    """
    chunks: dict[str, list[NDArray[np.int32]]] = {}
    lengths: list[int] = []
    cut: list[NDArray[np.bool_]] = []
    for encoded, longer in _encoded(split, tokenizer, min(n_max, tokenizer.model_max_length), of, words):
        cut.append(longer)
        lengths += [len(ids) for ids in encoded["input_ids"]]
        for name, values in encoded.items():
            chunks.setdefault(name, []).append(np.concatenate([np.asarray(v, dtype=np.int32) for v in values]))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    fill = {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": getattr(tokenizer, "pad_token_type_id", 0)}
    fields = {name: Ragged(np.concatenate(values), offsets, fill.get(name, 0)) for name, values in chunks.items()}
    return fields, np.concatenate(cut)


def _encoded(
    split: Examples, tokenizer: Any, n_max: int, of: Mapping[str, str], words: bool
) -> Iterator[tuple[dict[str, list[list[int]]], NDArray[np.bool_]]]:
    """The tokenizer's fields, cut, and which examples were longer; the mask of padding is always among them."""
    columns = {argument: split.columns[name] for argument, name in of.items() if name in split.columns}
    options = {"return_attention_mask": True, **({"is_split_into_words": True} if words else {})}
    space = " " if words and _glues(tokenizer) else ""
    for start in range(0, len(next(iter(columns.values()))), CHUNK):
        texts = {argument: list(column[start : start + CHUNK]) for argument, column in columns.items()}
        if space:
            texts = {argument: [[f"{space}{word}" for word in each] for each in texts[argument]] for argument in texts}
        # verbose=False: it warns of texts that are too long, though none of them reaches the model whole.
        whole = tokenizer(**texts, **options, verbose=False)
        longer = np.asarray([len(ids) > n_max for ids in whole["input_ids"]])
        if longer.any():
            whole = tokenizer(**texts, **options, truncation=True, max_length=n_max)
        found = dict(whole)
        if words:
            found["word_ids"] = [
                [-1 if word is None else word for word in whole.word_ids(i)] for i in range(len(longer))
            ]
        yield found, longer


def _glues(tokenizer: Any) -> bool:
    """Whether words that are given one by one become one long word, unless a space begins each (GPT-2, RoBERTa)."""
    if not tokenizer.is_fast:
        raise CheckpointError(
            "the tokenizer must say of which word each token is, as fast tokenizers do; this one is a "
            f"{type(tokenizer).__name__}. Save it with its tokenizer.json"
        )
    words = {"is_split_into_words": True, "add_special_tokens": False}
    text, apart, spaced = (
        tokenizer("a a", add_special_tokens=False)["input_ids"],
        *(tokenizer([["a", second]], **words)["input_ids"][0] for second in ("a", " a")),
    )
    return bool(text == spaced != apart)
