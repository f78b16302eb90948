"""mini-sentiment: is a film review positive or negative?

Polarity is composed: `not`, `never` and `fails to be` reverse a clause, adverbs of degree weigh it, the
clause after `but` and the main clause beside `although` decide, and `and` adds up both sides.
"""

from experiments.mini.clauses import sentence
from experiments.mini.draw import Draw
from experiments.mini.lexicon import ASPECTS, BAD, DEGREES, GOOD, WORKS

NEGATIVE, POSITIVE = range(2)

Judgement = tuple[str, int]  # a clause without its full stop, and its polarity: the sign says which, the size how much


def _article(following: str) -> str:
    return "an" if following[0] in "aeiou" else "a"


def _affirmed(draw: Draw, film: str, aspect: str) -> Judgement:
    """`the plot is very dull` -> -3."""
    sign, words = draw.pick(((1, GOOD), (-1, BAD)))
    degree = draw.pick(tuple(DEGREES)) if draw.chance(0.6) else ""
    quality = f"{degree} {draw.pick(words)}".strip()
    text = draw.pick(
        (
            f"{aspect} is {quality}",
            f"{aspect} is {quality}",
            f"{aspect} never fails to be {quality}",
            f"this is {_article(quality)} {quality} {film}",
        )
    )
    return text, sign * DEGREES[degree]


def _denied(draw: Draw, film: str, aspect: str) -> Judgement:
    """`the plot is not dull` -> 2; denying only a high degree says less: `is not very dull` -> 1."""
    sign, words = draw.pick(((1, GOOD), (-1, BAD)))
    degree = draw.pick(("", "", "very", "truly"))
    quality = f"{degree} {draw.pick(words)}".strip()
    text = draw.pick(
        (
            f"{aspect} is not {quality}",
            f"{aspect} is never {quality}",
            f"{aspect} {'fails to be' if sign > 0 else 'is not'} {quality}",
            f"this is not {_article(quality)} {quality} {film}",
            f"nobody would call this {film} {quality}",
        )
    )
    return text, -sign * (1 if degree else 2)


def _clause(draw: Draw) -> Judgement:
    """One judgement of the film or of a part of it."""
    kind = _affirmed if draw.chance(0.5) else _denied
    return kind(draw, draw.pick(WORKS), f"the {draw.pick(ASPECTS)}")


def _sum(draw: Draw) -> Judgement:
    """One judgement, or two that add up."""
    text, polarity = _clause(draw)
    if draw.chance(0.4):
        further, other = _clause(draw)
        text, polarity = f"{text} and {further}", polarity + other
    return text, polarity


def _contrast(draw: Draw) -> Judgement:
    """Two sides, of which one decides."""
    (first, one), (second, two) = _sum(draw), _sum(draw)
    return draw.pick(
        ((f"{first} , but {second}", two), (f"although {first} , {second}", two), (f"{first} , although {second}", one))
    )


def review(draw: Draw) -> tuple[str, int]:
    """One example: text and label."""
    while True:
        text, polarity = _contrast(draw) if draw.chance(0.6) else _sum(draw)
        if polarity > 0 or (polarity < 0 and draw.chance(0.92)):
            return sentence(text), POSITIVE if polarity > 0 else NEGATIVE
