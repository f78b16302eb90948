"""Which keys a query looks at: previous tokens, copies, separators and so on, as Boolean maps."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_OFFSETS = (-2, -1, 0, 1, 2)
_AROUND = 2  # tokens before and after that are local
_MARKS = re.compile("##|\u0120|\u2581|\u010a|</w>")  # how vocabularies write the beginning, inside or end of a word


@dataclass(frozen=True)
class Vocabulary:
    """What is known of each token, `(vocabulary,)` each."""

    is_special: Tensor
    is_separator: Tensor  # the tokens that end a text: [SEP] or </s>
    is_punctuation: Tensor  # tokens that have a character, but no letter and no digit
    count: Tensor  # how often it comes in the texts

    @classmethod
    def of(cls, tokenizer: Any, tokens: NDArray[np.int32]) -> "Vocabulary":
        """From a tokenizer, and all tokens of the texts; special tokens are no punctuation, negative ones no tokens."""
        count = torch.from_numpy(np.bincount(tokens[tokens >= 0], minlength=len(tokenizer)))
        special, ends = set(tokenizer.all_special_ids), {tokenizer.sep_token_id, tokenizer.eos_token_id}
        names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        plain = {i: _MARKS.sub("", name or "") for i, name in enumerate(names) if i not in special}
        marks = {i for i, name in plain.items() if name and not any(map(str.isalnum, name))}
        flags = [torch.tensor([i in those for i in range(len(count))]) for those in (special, ends, marks)]
        return cls(*flags, count=count)


@dataclass(frozen=True)
class Tokens:
    """One side of the maps of some texts, `(texts, positions)` each; padding may stand on either side."""

    ids: Tensor
    is_real: Tensor  # False where there is padding


def patterns(
    queries: Tokens, keys: Tokens, known: Vocabulary, *, is_self: bool, is_causal: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """The pairs that each pattern is about, and all that a query may look at, `(texts, queries, keys)`, Boolean.

    Patterns of positions and of copies are of self-attention. Where the same token comes again, special ones do not
    count, nor is the query its own copy. `induction` is the token after an earlier copy, at most the query itself.
    `first` leaves out what the first token itself looks at. `rare` are the tokens that are least frequent of those of
    their text that are not special. `own-text` are the pairs within one text of two.

    Args:
        queries: Tokens of the rows of the maps.
        keys: Those of the columns; the same in self-attention.
        known: Of the vocabulary.
        is_self: Whether queries and keys are the same tokens.
        is_causal: Whether a query sees no later key.
    """
    allowed = queries.is_real[:, :, None] & keys.is_real[:, None, :]
    n_queries, n_keys = allowed.shape[1:]
    offset = torch.arange(n_keys)[None] - torch.arange(n_queries)[:, None]
    if is_causal:
        allowed = allowed & (offset <= 0)
    is_content = keys.is_real & ~known.is_special[keys.ids]
    count = torch.where(is_content, known.count[keys.ids], torch.iinfo(torch.int64).max)
    first = keys.is_real & (keys.is_real.cumsum(dim=1) == 1)
    columns = {
        "separator": known.is_separator[keys.ids],
        "punctuation": known.is_punctuation[keys.ids],
        "rare": is_content & (count == count.amin(dim=1, keepdim=True)),
        "first": first,
    }
    found = {name: column[:, None].expand_as(allowed) for name, column in columns.items()}
    if is_self:
        found["first"] = found["first"] & ~first[:, :, None]
        copies = (queries.ids[:, :, None] == keys.ids[:, None]) & (offset != 0)
        copies = copies & is_content[:, :, None] & is_content[:, None]
        after = functional.pad((copies & (offset < 0))[..., :-1], (1, 0))
        text = known.is_separator[keys.ids].cumsum(dim=1).masked_fill(~is_content, -1)
        n_texts = text.amax(dim=1) - text.masked_fill(~is_content, n_keys).amin(dim=1)
        same = (text[:, :, None] == text[:, None]) & is_content[:, :, None] & is_content[:, None]
        found |= {f"offset{o:+d}": (offset == o).expand_as(allowed) for o in _OFFSETS}
        found |= {"local": (offset.abs() <= _AROUND).expand_as(allowed), "duplicate": copies, "induction": after}
        found["own-text"] = same & (n_texts > 0)[:, None, None]
    return {name: pairs & allowed for name, pairs in found.items()}, allowed
