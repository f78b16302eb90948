"""The text form of heads: `3:1,5` in a model of one stack, `E:3:1,5` in an encoder-decoder; all numbers from 1.

The letters are the authors' (Michel, Levy and Neubig, 2019): E is the encoder's self-attention, A the attention of the
decoder to the encoder, D the decoder's self-attention.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from prune_heads.errors import HeadDescriptorError

Head = tuple[int, int]  # (block, head), both from 0
T = TypeVar("T")

_FORM = "the form is 'layer:head,head layer:head', from 1, e.g. '3:1,5 7:2'"
_LETTERED_FORM = "the form is 'letter:layer:head,head', from 1, e.g. 'E:3:1,5 A:6:2 D:2:4'"


class HeadCounts(tuple[int, ...]):
    """Heads of each attention block before any removal; with the letters of the blocks where there are several kinds.

    A tuple, equal to the plain tuple of its numbers.
    """

    letters: str  # one of E, A and D a block; empty for a model of one kind

    def __new__(cls, counts: Iterable[int], letters: str = "") -> "HeadCounts":
        """Raises `HeadDescriptorError` if the letters are not one of E, A and D a block."""
        self = super().__new__(cls, (int(n) for n in counts))
        if letters and (len(letters) != len(self) or set(letters) - set("EAD")):
            raise HeadDescriptorError(f"each of {len(self)} blocks must have a letter, E, A or D; got {letters!r}")
        self.letters = letters if len(set(letters)) > 1 else ""
        return self

    def __getnewargs__(self) -> tuple[tuple[int, ...], str]:
        return tuple(self), self.letters

    @classmethod
    def of(cls, counts: Iterable[int]) -> "HeadCounts":
        """Plain numbers are those of a model of one kind."""
        return counts if isinstance(counts, cls) else cls(counts)

    @classmethod
    def described(cls, blocks: Iterable[Mapping[str, Any]]) -> "HeadCounts":
        """From descriptions of blocks (`AttentionBlock.describe`), as reports hold them."""
        rows = list(blocks)
        return cls((row["n_heads"] for row in rows), "".join(letter_of(row["kind"], row["stack"]) for row in rows))

    def names(self) -> list[str]:
        """What people call each block: `3`, or `E:3`, counted within its kind."""
        if not self.letters:
            return [str(block + 1) for block in range(len(self))]
        return [f"{letter}:{self.letters[: i + 1].count(letter)}" for i, letter in enumerate(self.letters)]

    def rows(self, of: Mapping[Head, T]) -> list[list[T | None]]:
        """One row a block, one cell a head; None for a head that is not in the mapping."""
        return [[of.get((block, head)) for head in range(n)] for block, n in enumerate(self)]


def letter_of(kind: str, stack: str) -> str:
    """The paper's letter for blocks of this kind (`self`, `cross`) and stack (`encoder`, `decoder`)."""
    return "A" if kind == "cross" else stack[0].upper()


def named_blocks(names: Iterable[str] | None, counts: HeadCounts) -> tuple[int, ...]:
    """Block indices (from 0), in order, of names such as `3` or `E:3`; a letter alone is all blocks of its kind.

    None stands for all blocks. A `HeadDescriptorError` for a name that is not that of a block of the model.
    """
    there = counts.names()
    found: set[int] = set()
    for name in there if names is None else names:
        of_kind = [block for block, letter in enumerate(counts.letters) if letter == name]
        if not of_kind and name not in there:
            raise HeadDescriptorError(f"--blocks must be between {there[0]} and {there[-1]} for this model; got {name}")
        found.update(of_kind or [there.index(name)])
    return tuple(sorted(found))


def parse_heads(text: str, counts: HeadCounts) -> set[Head]:
    """The heads that a text names, none if it is empty; an error names the first wrong character, from 1."""
    found: set[Head] = set()
    letters = "".join(dict.fromkeys(counts.letters))

    def fail(at: int, problem: str) -> NoReturn:
        place = f"character {at + 1} ({text[at]!r})" if at < len(text) else "the end"
        form = _LETTERED_FORM if letters else _FORM
        raise HeadDescriptorError(f"heads {text!r}, at {place}: {problem}; {form}")

    def number(digits: str, at: int) -> int:
        if not re.fullmatch("[0-9]+", digits):
            fail(at + len(re.match("[0-9]*", digits)[0]), "a number must be here")  # type: ignore[index]
        return int(digits)

    for token in re.finditer(r"\S+", text):
        letter, at = "", token.start()
        if letters:
            letter = token[0][0]
            if letter not in letters:
                fail(at, f"this model has several kinds of blocks, so {' or '.join(letters)} must come first")
            if token[0][1:2] != ":":
                fail(at + 1, f"':' and a layer must follow {letter}")
            at += 2
        elif token[0][0] in "EAD":
            fail(at, "this model has blocks of one kind, which have no letter")
        layer, colon, heads = text[at : token.end()].partition(":")
        blocks = [b for b in range(len(counts)) if letter in ("", counts.letters[b : b + 1])]
        if not 1 <= number(layer, at) <= len(blocks):
            fail(at, f"layer {layer} must be between 1 and {len(blocks)}")
        if not colon:
            fail(token.end(), "':' and heads must follow the layer")
        block, at, named = blocks[int(layer) - 1], at + len(layer) + 1, set[Head]()
        for part in heads.split(","):
            head = number(part, at) - 1
            if not 0 <= head < counts[block]:
                fail(at, f"head {part} must be between 1 and {counts[block]} (layer {layer})")
            if (block, head) in named:
                fail(at, f"head {part} is named twice")
            named.add((block, head))
            at += len(part) + 1
        found |= named
    return found
