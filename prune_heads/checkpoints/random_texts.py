"""Texts of different random tokens, for proofs: a vocabulary may map a whole sentence to one repeated token.

If all tokens are equal, a head gives the same output whatever it attends to, so a proof would see nothing.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer


def random_texts(tokenizer: Tokenizer, lengths: Sequence[int], generator: np.random.Generator) -> dict[str, Tensor]:
    """A batch as the tokenizer would give it, `(n_texts, longest)` a field, padded on the right.

    Args:
        tokenizer: Gives the special tokens around a text, and the names of the fields.
        lengths: Tokens of each text, special ones included; equal where the tokenizer cannot pad.
        generator: Draws the tokens; those of a text differ while the vocabulary has others.
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
        text = generator.choice(words, n_words, replace=n_words > len(words)).tolist()
        filled = {
            name: [*values[:first], *(values[first : first + 1] or [1]) * n_words, *values[last:]]
            for name, values in frame.items()
        }
        filled["input_ids"][first : first + n_words] = text
        rows.append(filled)
    can_pad = tokenizer.pad_token is not None
    return dict(tokenizer.pad(rows, padding=can_pad, padding_side="right", return_tensors="pt", verbose=False))
