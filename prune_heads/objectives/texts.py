"""Texts and pairs of texts, tokenised once and held as flat arrays."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_heads.errors import CheckpointError
from prune_heads.objectives.batches import Ragged
from prune_heads.objectives.rows import Split

CHUNK = 1000
"""Texts that are given to a tokeniser at once."""


def tokenize(
    split: Split, tokenizer: Any, *, n_max: int, of: Mapping[str, str], words: bool = False
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
    n_max = min(n_max, tokenizer.model_max_length)
    options = {"return_attention_mask": True, **({"is_split_into_words": True} if words else {})}
    space = " " if words and _glues(tokenizer) else ""
    fields: dict[str, list[NDArray[np.int32]]] = defaultdict(list)
    cut: list[bool] = []
    for start in range(0, len(split), CHUNK):
        places = slice(start, start + CHUNK)
        texts = {argument: list(split.columns[name][places]) for argument, name in of.items() if name in split.columns}
        if space:
            texts = {argument: [[f"{space}{word}" for word in each] for each in texts[argument]] for argument in texts}
        # verbose=False: it warns of texts that are too long, though none of them reaches the model whole.
        encoded = tokenizer(**texts, **options, verbose=False)
        longer = [len(ids) > n_max for ids in encoded["input_ids"]]
        if any(longer):
            encoded = tokenizer(**texts, **options, truncation=True, max_length=n_max)
        found = dict(encoded)
        if words:
            found["word_ids"] = [
                [-1 if word is None else word for word in encoded.word_ids(i)] for i in range(len(longer))
            ]
        for name, rows in found.items():
            fields[name] += [np.asarray(row, dtype=np.int32) for row in rows]
        cut += longer
    return {name: Ragged.of(rows, fill(tokenizer, name)) for name, rows in fields.items()}, np.asarray(cut)


def fill(tokenizer: Any, name: str) -> int:
    """What stands in the padding of a field."""
    token = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id"}.get(name, "")
    return getattr(tokenizer, token, None) or 0


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
