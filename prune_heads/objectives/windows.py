"""A question with its context as rows of tokens: one, or windows that overlap; and what is right in each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.nn import functional

from prune_heads.objectives.batches import IGNORED
from prune_heads.visible import brief

CONTEXT, START, END, NONE = 1, 2, 4, 8
"""Bits of a target: a token of the context; the first and the last of the answer; the one that stands for none."""
LONGEST_ANSWER = 30
"""Tokens of an answer, at most: the default of BERT's `run_squad.py` and of transformers' `run_qa.py`."""

FIELDS = {"input_ids": "ids", "token_type_ids": "type_ids", "attention_mask": "attention_mask"}
"""What a model is given -> how the tokenizers library calls it."""


def fields_of(tokenizer: Any) -> list[str]:
    """Those that the tokenizer is for; the mask of padding is always among them."""
    return [name for name in FIELDS if name in (*tokenizer.model_input_names, "attention_mask")]


def windows_of(tokenizer: Any, question: str, context: str, n_max: int, stride: int) -> list[Encoding]:
    """The question with each part of its context.

    Raises:
        ValueError: If the question leaves no room.
    """
    (whole,) = tokenizer([question], [context], verbose=False).encodings
    if len(whole) <= n_max:
        return [whole]
    room = n_max - len(whole) + whole.sequence_ids.count(1)
    if room < 1:
        raise ValueError(
            f"the question must leave room for the context in {n_max} tokens (--max-length), got one that takes "
            f"{n_max - room} with the special tokens. Raise --max-length, or leave it out"
        )
    cut = {"truncation": "only_second", "max_length": n_max, "stride": min(stride, room // 2)}
    found: list[Encoding] = tokenizer([question], [context], return_overflowing_tokens=True, **cut).encodings
    return found


def offsets_of(window: Encoding) -> NDArray[np.int64]:
    """`(tokens of the context, 2)`: where each begins and ends in it."""
    pairs = zip(window.offsets, window.sequence_ids, strict=True)
    return np.asarray([offset for offset, of in pairs if of == 1], dtype=np.int64).reshape(-1, 2)


def targets_of(
    windows: Sequence[Encoding], none_ids: Sequence[int | None], answer: Mapping[str, Any]
) -> list[list[int]]:
    """What is right in each window, in bits a token.

    Raises:
        ValueError: If no token is of the answer.
    """
    marked = [[CONTEXT if of == 1 else 0 for of in window.sequence_ids] for window in windows]
    for window, bits in zip(windows, marked, strict=True):
        place = next((window.ids.index(each) for each in none_ids if each in window.ids), 0)
        bits[place] |= NONE if answer["text"] else NONE | START | END
    if not answer["text"]:
        return marked
    begin = answer["answer_start"][0]
    end = begin + len(answer["text"][0])
    every = [
        [
            i
            for i, ((a, b), of) in enumerate(zip(window.offsets, window.sequence_ids, strict=True))
            if of == 1 and a < end and b > begin
        ]
        for window in windows
    ]
    if not any(every):
        raise ValueError(
            f"the answer must have a token, got {brief(answer['text'][0])}, of which the tokenizer has none"
        )
    begin = min(window.offsets[tokens[0]][0] for window, tokens in zip(windows, every, strict=True) if tokens)
    end = max(window.offsets[tokens[-1]][1] for window, tokens in zip(windows, every, strict=True) if tokens)
    ends: list[dict[int, int | None]] = [
        {
            START: tokens[0] if tokens and window.offsets[tokens[0]][0] == begin else None,
            END: tokens[-1] if tokens and window.offsets[tokens[-1]][1] == end else None,
        }
        for window, tokens in zip(windows, every, strict=True)
    ]
    whole = [None not in places.values() for places in ends]
    for bits, places, is_whole in zip(marked, ends, whole, strict=True):
        for bit, token in places.items():
            # An answer may be longer than what windows share; then its start and its end are in different ones.
            if token is not None and (is_whole or not any(whole)):
                bits[token] |= bit
    return marked


def best_spans(starts: Tensor, ends: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best span of each row, of all that have at most `LONGEST_ANSWER` tokens.

    Returns:
        Its first and last token, counted among those of the context, its score, and that of no answer; `(rows,)` each.
    """
    there = targets != IGNORED
    inside = there & (targets & CONTEXT > 0)
    opens, closes = (each.masked_fill(~inside, -torch.inf) for each in (starts, ends))
    closes = functional.pad(closes, (0, LONGEST_ANSWER - 1), value=-torch.inf).unfold(1, LONGEST_ANSWER, 1)
    best, place = (opens[:, :, None] + closes).flatten(1).max(dim=1)
    first = place // LONGEST_ANSWER - inside.int().argmax(dim=1)
    none = torch.where(there & (targets & NONE > 0), starts + ends, -torch.inf).amax(dim=1)
    return first, first + place % LONGEST_ANSWER, best, none
