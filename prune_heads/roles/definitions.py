"""What is measured of a head and what it must reach to play a role, the rows of `definitions.toml`; and patterns.

A pattern is which keys a query looks at: previous tokens, copies, separators and so on, as a Boolean map.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

On = Literal["texts", "repeated", "parses"]
NONE = "none"  # the role of a head that plays none of those that are defined
_OFFSETS = (-2, -1, 0, 1, 2)
_AROUND = 2  # tokens before and after that are local
_MARKS = re.compile("##|\u0120|\u2581|\u010a|</w>")  # how vocabularies write the beginning, inside or end of a word

_TABLE = tomllib.loads((resources.files(__name__.rpartition(".")[0]) / "definitions.toml").read_text("utf-8"))
FORMS: Mapping[str, Mapping[str, str]] = _TABLE["forms"]
"""Form of a score -> its `note`, what is averaged, and its `unit`."""


@dataclass(frozen=True)
class Score:
    """One number a head; `definitions.toml` says what each form averages."""

    name: str
    title: str
    form: str  # one of `FORMS`
    source: str
    pattern: str = ""  # pairs of query and key that it is about
    on: On = "texts"
    """Whether it is measured on the texts, on random tokens that come twice, or on parsed sentences."""

    @property
    def note(self) -> str:
        """What it is, in a sentence."""
        return f"{self.title}: {FORMS[self.form]['note']}{_TABLE['texts'][self.on]} ({self.source})."


@dataclass(frozen=True)
class Role:
    """What a head is said to do where one of its scores passes."""

    name: str
    code: str  # what stands in a cell of a figure
    family: str  # roles of one family share a colour
    threshold_of: str  # who says so
    at_least: Mapping[str, float] = field(default_factory=dict)  # score -> threshold; of relations, above the null
    at_most: Mapping[str, float] = field(default_factory=dict)

    def is_played(self, scores: Mapping[str, tuple[float, float, float | None]]) -> bool:
        """Whether a head plays it, by (value, low end of the interval, null) of each score that was measured.

        A score with a null must also be above it with its whole interval.
        """
        for name, least in self.at_least.items():
            if name in scores:
                value, low, null = scores[name]
                base = null if name in RELATION_SCORES and null is not None else 0.0
                if value >= base + least and (null is None or low > null):
                    return True
        return any(name in scores and scores[name][0] <= most for name, most in self.at_most.items())


TREEBANK: Mapping[str, Any] = _TABLE["treebank"]
"""Of constituency trees: labels, how texts write words, and head rules."""

SCORES: Mapping[str, Score] = {name: Score(name, **row) for name, row in _TABLE["scores"].items()}
RELATION_SCORES: Mapping[str, Score] = {name: score for name, score in SCORES.items() if score.on == "parses"}
"""`nsubj-to-head` -> its score: the share of subjects whose maximum is on their verb."""

ROLES: Mapping[str, Role] = {name: Role(name, **row) for name, row in _TABLE["roles"].items()}
FAMILIES: Mapping[str, str] = _TABLE["families"]
"""Family of roles -> its colour in figures."""


def roles_of(scores: Mapping[str, tuple[float, float, float | None]]) -> list[str]:
    """The roles that a head plays, the one that stands for them first; see `Role.is_played`."""
    return [name for name, role in ROLES.items() if role.is_played(scores)]


def described(names: Sequence[str]) -> list[dict[str, Any]]:
    """For records: each role that these scores can show, with its thresholds and their source."""
    rows = []
    for name, role in ROLES.items():
        at_least, at_most = ({k: v for k, v in of.items() if k in names} for of in (role.at_least, role.at_most))
        if at_least or at_most:
            about = {"role": name, "code": role.code, "family": role.family, "threshold_of": role.threshold_of}
            rows.append({**about, "at_least": at_least, "at_most": at_most})
    return rows


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
        sets = (special, ends, marks)
        is_special, ends_text, is_mark = (torch.tensor([i in those for i in range(len(count))]) for those in sets)
        return cls(is_special, ends_text, is_mark, count)


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
